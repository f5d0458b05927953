"""The figures that a check leaves: frozen structures, from which the JSON of a record and its schema both follow.

Here is what several checks share. Nothing here needs torch or numpy: the report reads records without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from env.language import Message

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Several = Annotated[int, Meta(ge=2)]  # what is compared with itself is there twice at least
Size = Annotated[float, Meta(ge=0)]  # of an error, a time, a rate
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1)]


class Figures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the figures of a check are made of. Fields are written in their order; one that is UNSET is left out.

    A field with a default may be absent from a record: an earlier version of the bundle did not write it.
    """

    def as_json(self) -> dict[str, Any]:
        """As a record holds it.

        Raises:
            TypeError: a value is none that JSON has.
        """
        fields: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_builtin)
        return fields


def _builtin(value: Any) -> Any:
    """A message with its fields, for any language; numpy's float64 as Python's float."""
    if isinstance(value, Message):
        return value.as_json()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no figure")


class Bound(Figures, frozen=True, kw_only=False):
    """What a point's error is expected to stay below."""

    rel_l2: Annotated[float, Meta(gt=0)]
    worst_element: Annotated[float, Meta(gt=0)]


class NoiseFigures(Figures, frozen=True, kw_only=False):
    """What ideal devices of the dtype are off by at a point: what its bound is made of (bounds.bound)."""

    rel_l2: Size
    worst_element: Size


class ComparisonFigures(Figures, frozen=True, kw_only=True):
    """One tensor against another, in float64. None where either holds a NaN or an infinity, or is of another shape."""

    finite: bool
    identical: bool  # every value equal
    rel_l2: Size | None
    max_abs: Size | None
    mean_abs: Size | None
    cosine: float | None
    worst_element: Size | None
    top1: Share | None  # of positions with the same largest entry; None also where it is no choice
    top1_regret: Size | None


class ScoresFigures(ComparisonFigures, frozen=True, kw_only=True):
    """Scores [..., vocab] against others, as a choice between tokens."""

    top5: Share | None  # mean overlap of the five largest
    kl: float | None  # Kullback-Leibler divergence, nats


class PointFigures(Figures, frozen=True, kw_only=True):
    """One point of a forward pass against the reference's, and its bound. The comparison is as ComparisonFigures."""

    name: str  # "encoder.layers.1.attn > to_out": what attn computes and its to_out is given
    layer: str  # whose code computed it
    edge: str  # "into" or "out of"
    kind: str  # the row of bounds.toml that holds for it
    finite: bool
    identical: bool
    rel_l2: Size | None
    max_abs: Size | None
    mean_abs: Size | None
    cosine: float | None
    worst_element: Size | None
    top1: Share | None
    top1_regret: Size | None
    expected: Bound
    noise: NoiseFigures | UnsetType = UNSET  # 0.1.0 did not write it
    excess: Size | None  # the larger of error over bound: above 1 is beyond it; None where nothing can be measured
    passed: bool
    problem: Message | UnsetType = msgspec.field(default=UNSET, name="said")  # what is wrong there, as a sentence


class OperatorFigures(Figures, frozen=True, kw_only=True):
    """One operator on the device against float64: the largest error of one element, and what its maker accepts."""

    name: str
    dtype: str
    error: Size | None  # |actual - expected| / (|expected| + rms(expected)); None where it is not finite
    limit: Size
    departs: bool


class CopyFigures(Figures, frozen=True, kw_only=True):
    """Copies of one size in one direction: bytes over the median and over the shortest time of `n`, and whether all of
    them arrived.
    """

    direction: Literal["h2d", "d2h", "d2d"]  # host to device, device to host, on the device
    memory: Literal["pinned", "pageable"] | None  # of the host's side
    bytes: Positive
    n: Positive
    gb_s: Size
    best_gb_s: Size
    exact: bool


class ReferenceFigures(Figures, frozen=True, kw_only=True):
    """What a run was compared with."""

    device: Literal["cpu"]
    dtype: str
    sha256: str  # of the file of reference values
    depth: str  # which points it holds
    versions: Mapping[str, str | None]
    unkept: Message | UnsetType = UNSET  # why the file could not be written, where it was made by this run
