"""Figures of speed. Times are milliseconds, percentiles interpolated linearly between the ordered samples."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from env.language import Message
from verify.reference.chip_times import ReferenceTime
from verify.reference.figures import CopyFigures, Count, Figures, Size
from verify.run.figures.card import CardFigures


class SummaryFigures(Figures, frozen=True, kw_only=True):
    """Samples in four figures."""

    mean_ms: Size
    p50_ms: Size
    p90_ms: Size
    p99_ms: Size


class TimesFigures(Figures, frozen=True, kw_only=True):
    """One component's times. `cold_ms` is its first call in the process, whichever check made it."""

    cold_ms: Size
    warm_ms: list[Size]
    samples_ms: list[Size]
    mean_ms: Size
    p50_ms: Size
    p90_ms: Size
    p99_ms: Size
    steps_per_s: Size
    floor_ms: Size | None


class PerTokenFigures(Figures, frozen=True, kw_only=True):
    """Milliseconds a token after the first."""

    p50: Size
    p90: Size
    p99: Size


class DecodeFigures(Figures, frozen=True, kw_only=True):
    """Greedy decoding: the time to the first token, then per token; the rate is of all rows of the batch."""

    tokens: Count
    runs: Count | None = None
    tokens_per_s: Size
    prefill_ms: Size
    per_token_ms: PerTokenFigures
    samples_ms: list[Size]
    prefill_samples_ms: list[Size] = field(default_factory=list)
    floor_ms: Size | None = None


class MemoryFigures(Figures, frozen=True, kw_only=True):
    """The peak: of tensors on the device since the benchmark began, or of the process.

    Tensors are not all of it: contexts, kernels and workspaces of CANN's own take some 3 GB beside them.
    """

    kind: Literal["device", "rss"]
    peak_bytes: Count | None
    since: Literal["benchmark", "process start"] = "process start"
    device_before_bytes: Count | None = None  # in use on the whole device, CANN and other programs too
    device_after_bytes: Count | None = None
    cards: dict[str, Count] = field(default_factory=dict)  # of a split model the peak of each card, which add up


class FloorsFigures(Figures, frozen=True, kw_only=True):
    """What the machine reaches with one plain operation."""

    read_gb_s: Size
    gemm_gflop_s: Size


class FirstCallFigures(Figures, frozen=True, kw_only=True):
    """What a process pays once, in the order in which it does; None of what this one did not do.

    The first pass is the sum of the first calls of its parts in turn, the second the first call of the whole model.
    """

    import_torch_s: Size | None
    import_torch_npu_s: Size | None
    set_device_s: Size | None  # of a GPU: its context
    import_model_s: Size | None  # the library's classes
    compiler_s: Size | None  # CANN's operator compiler
    load_s: Size
    first_pass_ms: Size
    second_pass_ms: Size


class BenchmarkFigures(Figures, frozen=True, kw_only=True):
    """Of `benchmark`."""

    load_s: Size
    total: TimesFigures
    components: Annotated[dict[str, TimesFigures], Meta(min_length=1)]
    decode: DecodeFigures
    memory: MemoryFigures
    floors: FloorsFigures | None  # None where they were not measured
    percentiles: str = "linear interpolation"
    card: CardFigures | None = None  # None on a CPU, and below level 3
    first_calls: FirstCallFigures | None = None  # None in records of earlier versions
    copies: list[CopyFigures] = field(default_factory=list)  # none on a CPU: there is one memory
    references: list[ReferenceTime] = field(default_factory=list)  # none where nothing is known of the chip
    beyond_reference: Message | None = None  # those outside their bounds, as a sentence
