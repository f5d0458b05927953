"""Every layer on the device against the reference, and the name of the first one that is out of its bound.

Isolated: each layer is handed the reference's own input, so an error does not travel and one wrong layer shows as one.
End to end: the library's forward pass as it is, where errors add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from model.components import Inputs, Loaded
from model.device import runtime_errors
from verify.reference import bounds
from verify.reference.numerics import as_array
from verify.reference.points import LOGITS_POINT, Reading, described, read_points, scores
from verify.reference.values import MODES, Expected, Key
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

if TYPE_CHECKING:
    from model.hooks import Point


KINDS = 12  # kinds of layers whose worst point is written out
LISTED = 20  # points beyond their bound that are written out; the rest are counted


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


def summary(readings: list[Reading], points: Mapping[Key, Point]) -> dict[str, Any]:
    """One pass in figures. Points that the reference has and the device never reached are named as well."""
    beyond = [reading for reading in readings if reading.beyond]
    reached = {reading.point.key for reading in readings}
    missing = [point.name for key, point in points.items() if key not in reached]
    by_kind: dict[str, Reading] = {}
    for reading in readings:
        kind = bounds.kind_of(reading.point)
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

    with runtime_errors(loaded.device, "computing logits"), torch.inference_mode():
        output = loaded.forward(inputs)
    return scores(as_array(output), as_array(expected.values[LOGITS_POINT]))


def check(session: Verification) -> Outcome:
    """Every layer is within the bound of its dtype, fed the reference's input and end to end."""
    data = measure(session.model, session.inputs, session.reference)
    return judged(session, data)


def judged(session: Verification, data: dict[str, Any]) -> Outcome:
    """The outcome of a measurement of layers."""
    wrong = problems(data)
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, session.signature())
    closest = data["isolated"]["closest"][0]
    reason = (
        f"{data['isolated']['points']} points within their bounds, {closest['name']} at {closest['excess']:.0%} of its"
    )
    return Outcome(Status.PASS, reason, data, session.signature())
