"""Figures of the layers: every point of a forward pass against the reference's."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from verify.reference.figures import Count, Figures, PointFigures, Positive, ReferenceFigures, ScoresFigures, Size


class StackFigures(Figures, frozen=True, kw_only=True):
    """Every point of a pass, in the order of the forward pass: the whole stack, for a plot and for another run."""

    names: list[str]
    rel_l2: list[Size | None]  # three digits
    expected: list[Size]  # of rel_l2
    excess: list[Size | None]
    noise: list[Size] | UnsetType = UNSET  # of rel_l2, of ideal devices; 0.1.0 did not write it


class PassFigures(Figures, frozen=True, kw_only=True):
    """One pass. `departures` and `missing` are cut; `closest` holds the worst point of each kind of layer."""

    points: Positive
    beyond: Count
    first_departure: PointFigures | None
    departures: list[PointFigures]
    missing: list[str]  # points that the reference has and the device never computed
    closest: Annotated[list[PointFigures], Meta(min_length=1)]
    stack: StackFigures | None = None  # None in records of earlier versions


class LayersFigures(Figures, frozen=True, kw_only=True):
    """Of `layers`: each layer fed the reference's own input, the library's pass as it is, and the model's output."""

    reference: ReferenceFigures
    isolated: PassFigures
    end_to_end: PassFigures
    logits: ScoresFigures


class SharpFigures(LayersFigures, frozen=True, kw_only=True):
    """Of `sharp`: the same on the bundled checkpoint in float32. On an NPU also which operators may use HF32."""

    hf32: dict[str, bool] | None
