"""Every point of a forward pass on the device compared with the reference's, and held to its bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model import components
from model.components import Inputs, Loaded
from model.device import failures
from verify.reference import bounds, numerics
from verify.reference.bounds import Bound
from verify.reference.numerics import as_array
from verify.reference.values import Expected

if TYPE_CHECKING:
    import torch

    from model.layers import Point

LOGITS = ""  # the model itself, whose output they are


@dataclass(frozen=True)
class Reading:
    """One point of one pass, compared."""

    point: Point
    comparison: numerics.Comparison
    bound: Bound
    trouble: str = ""  # what cannot be measured: another shape, NaN

    @property
    def excess(self) -> float:
        """The larger of error over bound; above 1 is beyond it. Infinite where the point holds NaN or infinity."""
        error = self.comparison
        if self.trouble or error.rel_l2 is None or error.worst_element is None:
            return float("inf")
        return max(error.rel_l2 / self.bound.rel_l2, error.worst_element / self.bound.worst_element)

    @property
    def beyond(self) -> bool:
        return not self.excess <= 1.0

    @property
    def said(self) -> str:
        """What is wrong there: encoder.layers.7.conv.depth_conv, rel 3.1e-02, expected below 4.0e-03."""
        error, bound = self.comparison, self.bound
        if self.trouble or error.rel_l2 is None or error.worst_element is None:
            return f"{self.point.name}, {self.trouble}"
        if error.rel_l2 > bound.rel_l2:
            return f"{self.point.name}, rel {error.rel_l2:.1e}, expected below {bound.rel_l2:.1e}"
        return (
            f"{self.point.name}, worst element off by {error.worst_element:.1e}, "
            f"expected below {bound.worst_element:.1e}"
        )

    def as_json(self) -> dict[str, Any]:
        excess = self.excess
        return {
            "name": self.point.name,
            "layer": self.point.owner,
            "edge": self.point.edge,
            "kind": bounds.kind_of(self.point),
            **self.comparison.as_json(),
            "expected": {"rel_l2": self.bound.rel_l2, "worst_element": self.bound.worst_element},
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
    kind = bounds.arithmetic(loaded)

    def visit(point: Point, tensor: torch.Tensor) -> torch.Tensor | None:
        if point.key not in expected.values:
            return None
        reference = expected.values[point.key]
        bound = bounds.bound(kind, loaded.dtype, mode, bounds.kind_of(point), noise[point.key])
        readings.append(_reading(point, tensor.detach().cpu(), reference, bound))
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


def _reading(point: Point, here: torch.Tensor, reference: torch.Tensor, bound: Bound) -> Reading:
    try:
        comparison = numerics.compare(as_array(here), as_array(reference))
    except ValueError:
        trouble = f"is {list(here.shape)}, {list(reference.shape)} expected"
        return Reading(point, numerics.Comparison(finite=False, identical=False), bound, trouble)
    return Reading(point, comparison, bound, "" if comparison.finite else "holds NaN or infinity")


def described(expected: Expected) -> dict[str, Any]:
    return {
        "device": "cpu",
        "dtype": expected.description.dtype,
        "sha256": expected.sha256,
        "depth": "every layer" if expected.deep else "parts of layers",
        "versions": dict(expected.description.versions),
    }


def scores(actual: numerics.Array, reference: numerics.Array) -> dict[str, Any]:
    """Two sets of scores [..., vocab] compared; the measures of choice are None where one is not finite."""
    comparison = numerics.compare(actual, reference, classes=True)
    choice = (
        {"top5": numerics.top_k_overlap(actual, reference), "kl": numerics.kl_divergence(actual, reference)}
        if comparison.finite
        else {"top5": None, "kl": None}
    )
    return comparison.as_json() | choice
