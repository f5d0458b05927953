"""Every layer on the device against the reference, and the name of the first one that is out of its band.

Isolated: each layer is handed the reference's own input, so an error does not travel and one wrong layer shows as one.
End to end: the library's forward pass as it is, where errors add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model import components
from model.components import Inputs, Loaded
from model.device import failures
from verify import bands, numerics
from verify.bands import Band
from verify.expected import MODES, Expected, Key
from verify.parity import as_array

if TYPE_CHECKING:
    import torch

    from model.layers import Point

KINDS = 12  # kinds of layers whose worst point is written out
LISTED = 20  # points beyond their band that are written out; the rest are counted
LOGITS = ""  # the model itself, whose output they are


@dataclass(frozen=True)
class Reading:
    """One point of one pass, compared."""

    point: Point
    comparison: numerics.Comparison
    band: Band
    trouble: str = ""  # what cannot be measured: another shape, NaN

    @property
    def excess(self) -> float:
        """The larger of error over band; above 1 is beyond it. Infinite where the point holds NaN or infinity."""
        found = self.comparison
        if self.trouble or found.rel_l2 is None or found.worst_element is None:
            return float("inf")
        return max(found.rel_l2 / self.band.rel_l2, found.worst_element / self.band.worst_element)

    @property
    def beyond(self) -> bool:
        return not self.excess <= 1.0

    @property
    def said(self) -> str:
        """What is wrong there: encoder.layers.7.conv.depth_conv, rel 3.1e-02, expected below 4.0e-03."""
        found, band = self.comparison, self.band
        if self.trouble or found.rel_l2 is None or found.worst_element is None:
            return f"{self.point.name}, {self.trouble}"
        if found.rel_l2 > band.rel_l2:
            return f"{self.point.name}, rel {found.rel_l2:.1e}, expected below {band.rel_l2:.1e}"
        return (
            f"{self.point.name}, worst element off by {found.worst_element:.1e}, "
            f"expected below {band.worst_element:.1e}"
        )

    def as_json(self) -> dict[str, Any]:
        excess = self.excess
        return {
            "name": self.point.name,
            "layer": self.point.owner,
            "edge": self.point.edge,
            "kind": bands.kind_of(self.point),
            **self.comparison.as_json(),
            "expected": {"rel_l2": self.band.rel_l2, "worst_element": self.band.worst_element},
            "excess": excess if excess < float("inf") else None,
            "passed": not self.beyond,
        }


def read_points(loaded: Loaded, inputs: Inputs, expected: Expected, mode: str) -> list[Reading]:
    """One forward pass on the device with every point compared, in the order in which they are computed.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    import torch

    from model.layers import Taps

    readings: list[Reading] = []
    noise = expected.noise[loaded.dtype][mode]
    kind = bands.arithmetic(loaded)

    def visit(point: Point, tensor: torch.Tensor) -> torch.Tensor | None:
        if point.key not in expected.values:
            return None
        reference = expected.values[point.key]
        band = bands.band(kind, loaded.dtype, mode, bands.kind_of(point), noise[point.key])
        readings.append(_reading(point, tensor.detach().cpu(), reference, band))
        if mode != "isolated" or tensor.shape != reference.shape:
            return None
        return reference.to(loaded.torch_dtype).to(tensor.device)

    features = inputs.features.to(loaded.torch_dtype).to(loaded.device.torch_device)
    ids = inputs.input_ids.to(loaded.device.torch_device)
    with failures(loaded.device, "comparing layers"), torch.inference_mode():
        with Taps(loaded.model, visit, deep=expected.deep):
            components.forward(loaded.model, features, ids)
        loaded.device.synchronize()
    return readings


def _reading(point: Point, here: torch.Tensor, reference: torch.Tensor, band: Band) -> Reading:
    try:
        comparison = numerics.compare(as_array(here), as_array(reference))
    except ValueError:
        trouble = f"is {list(here.shape)}, {list(reference.shape)} expected"
        return Reading(point, numerics.Comparison(finite=False, identical=False), band, trouble)
    return Reading(point, comparison, band, "" if comparison.finite else "holds NaN or infinity")


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> dict[str, Any]:
    """What the layers record holds: by mode the first departure, all departures, and the worst point of each kind.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    data: dict[str, Any] = {"reference": described(expected)}
    for mode in MODES:
        readings = read_points(loaded, inputs, expected, mode)
        data[mode] = summary(readings, expected.points)
    data["logits"] = logits(loaded, inputs, expected)
    return data


def described(expected: Expected) -> dict[str, Any]:
    about = expected.about
    return {
        "device": "cpu",
        "dtype": about["dtype"],
        "sha256": expected.sha256,
        "depth": "every layer" if expected.deep else "parts of layers",
        "versions": about["versions"],
    }


def summary(readings: list[Reading], points: Mapping[Key, Point]) -> dict[str, Any]:
    """One pass in figures. Points that the reference has and the device never reached are named as well."""
    beyond = [reading for reading in readings if reading.beyond]
    reached = {reading.point.key for reading in readings}
    missing = [point.name for key, point in points.items() if key not in reached]
    by_kind: dict[str, Reading] = {}
    for reading in readings:
        kind = bands.kind_of(reading.point)
        if kind not in by_kind or reading.excess > by_kind[kind].excess:
            by_kind[kind] = reading
    return {
        "points": len(readings),
        "beyond": len(beyond),
        "first_departure": beyond[0].as_json() | {"said": beyond[0].said} if beyond else None,
        "departures": [reading.as_json() for reading in beyond[:LISTED]],
        "missing": missing[:LISTED],
        "closest": [r.as_json() for r in sorted(by_kind.values(), key=lambda r: -r.excess)[:KINDS]],
    }


def problems(data: Mapping[str, Any]) -> list[str]:
    """Why the layers are not as expected, the name of the first departure before anything else."""
    found = []
    for mode in MODES:
        one = data[mode]
        if one["first_departure"]:
            more = f", and {one['beyond'] - 1} points after it" if one["beyond"] > 1 else ""
            found.append(f"first departure {_mode(mode)}: {one['first_departure']['said']}{more}")
        if one["missing"]:
            found.append(f"the device never computed {one['missing'][0]} ({len(one['missing'])} points)")
    return found


def _mode(mode: str) -> str:
    return {"isolated": "of layers fed the reference's input", "end_to_end": "end to end"}[mode]


def logits(loaded: Loaded, inputs: Inputs, expected: Expected) -> dict[str, Any]:
    """The model's output as a choice between tokens: top-1 agreement, top-5 overlap, KL divergence in nats.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    import torch

    features = inputs.features.to(loaded.torch_dtype).to(loaded.device.torch_device)
    with failures(loaded.device, "computing logits"), torch.inference_mode():
        output = components.forward(loaded.model, features, inputs.input_ids.to(loaded.device.torch_device))
    return scores(as_array(output), as_array(expected.values[LOGITS, "out of", 0, 0]))


def scores(actual: numerics.Array, reference: numerics.Array) -> dict[str, Any]:
    """Two sets of scores [..., vocab] compared; the measures of choice are None where one is not finite."""
    comparison = numerics.compare(actual, reference, classes=True)
    choice = (
        {"top5": numerics.top_k_overlap(actual, reference), "kl": numerics.kl_divergence(actual, reference)}
        if comparison.finite
        else {"top5": None, "kl": None}
    )
    return comparison.as_json() | choice
