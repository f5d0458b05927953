"""Every layer on the device against the reference, and the name of the first one that is out of its bound.

Isolated: each layer is handed the reference's own input, so an error does not travel and one wrong layer shows as one.
End to end: the library's forward pass as it is, where errors add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from msgspec import structs

from env.language import _
from model.components import Inputs, Loaded
from model.device import runtime_errors
from model.hooks import Point
from verify.reference import bounds, operators
from verify.reference.figures import PointFigures, ScoresFigures
from verify.reference.numerics import as_array
from verify.reference.points import Reading, described, read_points, scores
from verify.reference.values import LOGITS_POINT, Expected, Key
from verify.run import judgement
from verify.run.figures.layers import LayersFigures, PassFigures, StackFigures
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

KINDS = 12  # kinds of layers whose worst point is written out
LISTED = 20  # points beyond their bound that are written out; the rest are counted


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> LayersFigures:
    """Two passes, layer by layer: fed the reference's own input, and end to end.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    isolated, end_to_end = (
        summary(read_points(loaded, inputs, expected, mode), expected.points) for mode in ("isolated", "end_to_end")
    )
    return LayersFigures(
        reference=described(expected),
        isolated=isolated,
        end_to_end=end_to_end,
        logits=logits(loaded, inputs, expected),
    )


def summary(readings: Sequence[Reading], points: Mapping[Key, Point]) -> PassFigures:
    """One pass in figures. Points that the reference has and the device never reached are named as well."""
    beyond = [reading for reading in readings if reading.beyond]
    reached = {reading.point.key for reading in readings}
    missing = [point.name for key, point in points.items() if key not in reached]
    by_kind: dict[str, Reading] = {}
    for reading in readings:
        kind = bounds.kind_of(reading.point)
        if kind not in by_kind or reading.excess > by_kind[kind].excess:
            by_kind[kind] = reading
    closest = sorted(by_kind.values(), key=lambda reading: -reading.excess)
    return PassFigures(
        points=len(readings),
        beyond=len(beyond),
        first_departure=structs.replace(beyond[0].figures, problem=beyond[0].problem) if beyond else None,
        departures=[reading.figures for reading in beyond[:LISTED]],
        missing=missing[:LISTED],
        closest=[reading.figures for reading in closest[:KINDS]],
        stack=stack([reading.figures for reading in readings]),
    )


def stack(points: Sequence[PointFigures]) -> StackFigures:
    """Every point in a few bytes: a plot has no use for more than three digits."""

    def rounded(value: float | None) -> float | None:
        return value if value is None else float(f"{value:.3g}")

    return StackFigures(
        names=[point.name for point in points],
        rel_l2=[rounded(point.rel_l2) for point in points],
        expected=[float(f"{point.expected.rel_l2:.3g}") for point in points],
        excess=[rounded(point.excess) for point in points],
        noise=[float(f"{point.noise.rel_l2:.3g}") for point in points if point.noise],
    )


def logits(loaded: Loaded, inputs: Inputs, expected: Expected) -> ScoresFigures:
    """The model's output as a choice between tokens: top-1 agreement, top-5 overlap, KL divergence in nats.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    with runtime_errors(loaded.device, "computing logits"), torch.inference_mode():
        output = loaded.forward(inputs)
    return scores(as_array(output), as_array(expected.values[LOGITS_POINT]))


def check(session: Verification) -> Outcome:
    """Every layer is within the bound of its dtype, fed the reference's input and end to end."""
    return judged(session, measure(session.model, session.inputs, session.reference))


def judged(session: Verification, figures: LayersFigures) -> Outcome:
    """The outcome of a measurement of layers."""
    if wrong := judgement.of_layers(figures):
        return failed(wrong + operators.explanation(session.operators), figures, session.signature())
    closest = figures.isolated.closest[0]
    reason = _(
        "{points} points within their bounds, {point} at {share:.0%} of its",
        points=figures.isolated.points,
        point=closest.name,
        share=closest.excess,
    )
    return passed(reason, figures, session.signature())
