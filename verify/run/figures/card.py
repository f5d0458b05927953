"""Figures of the card while it works: what its own management tool says of it, every few seconds."""

from __future__ import annotations

from verify.reference.figures import Count, Figures, Share, Size


class CardSample(Figures, frozen=True, kw_only=True):
    """One reading. None where the tool does not say."""

    at_s: Size
    busy: Share | None  # AICore or SM utilisation
    mhz: Size | None
    power_w: Size | None
    temp_c: float | None
    memory: Share | None  # of the card's memory that is in use


class SpreadFigures(Figures, frozen=True, kw_only=True):
    """The least, the middle and the largest of a quantity's readings, and the middle of their first and last fifth."""

    least: float
    median: float
    most: float
    first: float
    last: float


class ErrorCounts(Figures, frozen=True, kw_only=True):
    """Memory errors since the driver was loaded: corrected ones, ones that were not, and pages taken out of use."""

    single_bit: Count
    double_bit: Count
    isolated_pages: Count


class CardFigures(Figures, frozen=True, kw_only=True):
    """A card while a check ran. `unread` says why there is nothing, where there is nothing."""

    tool: str  # "npu-smi", "nvidia-smi"
    card: str  # as the tool is asked for it: "-i 5 -c 0"
    every_s: Size
    samples: list[CardSample]
    spread: dict[str, SpreadFigures]  # by the name of a sample's field
    errors_before: ErrorCounts | None
    errors_after: ErrorCounts | None
    unread: str | None = None
