"""Figures of repetition: the same bits again, in other places, in another process, and for a long time."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from verify.reference.figures import Count, Figures, Positive, Several, Size
from verify.run.figures.card import CardFigures


class DifferenceFigures(Figures, frozen=True, kw_only=True):
    """Where a run first differs from the first one."""

    run: Positive
    name: str  # of the point
    layer: str


class RepeatsFigures(Figures, frozen=True, kw_only=True):
    """Runs of one pass, each against the first, bit by bit."""

    runs: Several
    differing: Count
    first_difference: DifferenceFigures | None


class BatchFigures(Figures, frozen=True, kw_only=True):
    """The same inputs in every row of a batch."""

    rows: Several
    identical: bool
    first_difference: str | None  # the point's name
    logits_rel_l2: Size | None  # the worst row against the first; None where one is no number
    limit: Size = 0.0
    noise: Size | UnsetType = UNSET  # of a decoding step's scores, rel_l2, that the limit is made of; 0.1.0 wrote none


class ProcessFigures(Figures, frozen=True, kw_only=True):
    """Another process on the same device."""

    points: Positive
    first_difference: str | None  # the point's name, or how many points each has


class RepeatabilityFigures(Figures, frozen=True, kw_only=True):
    """Of `repeatability`."""

    repeats: RepeatsFigures
    warm: Annotated[dict[str, bool], Meta(min_length=1)]  # by component: the bits of this process's very first run
    batch: BatchFigures
    repeats_sharp: RepeatsFigures  # the bundled checkpoint in float32
    process: ProcessFigures


class MismatchFigures(Figures, frozen=True, kw_only=True):
    """A round that gave other bits."""

    round: Positive
    at_s: Size
    first: str  # the point's name, or the decoded tokens
    count: Positive  # of a round's passes and its decoding


class DriftFigures(Figures, frozen=True, kw_only=True):
    """Medians of the first and the last fifth of the rounds, the worst value, and the last over the first less one."""

    first: Size
    last: Size
    worst: Size
    drift: float


class MemoryDriftFigures(DriftFigures, frozen=True, kw_only=True):
    """Of bytes: what tensors hold on the device, or the process's resident set."""

    kind: Literal["device", "rss"]


class SoakSeries(Figures, frozen=True, kw_only=True):
    """A soak over time, in parts of equally many rounds: the median and the longest round of each, and what was held
    at its end.
    """

    at_s: list[Size]
    time_s: list[Size]
    longest_s: list[Size]
    memory_bytes: list[Size]


class SoakFigures(Figures, frozen=True, kw_only=True):
    """Of `soak`. The list of mismatches is cut, their count is whole."""

    seconds: Size
    rounds: Positive
    passes: Positive
    tokens: Positive
    mismatches: Count
    listed: list[MismatchFigures]
    time: DriftFigures  # seconds a round
    memory: MemoryDriftFigures
    card: CardFigures | None = None  # None on a CPU
    series: SoakSeries | None = None  # None in records of earlier versions
