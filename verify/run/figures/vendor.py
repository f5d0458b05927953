"""Figures of the vendor's own tools, beside ours."""

from __future__ import annotations

from env.language import Message
from verify.reference.figures import Figures, Name, Positive, Size


class VendorItemFigures(Figures, frozen=True, kw_only=True):
    """One item of the vendor's diagnosis, in its own word: "HEALTH", "FAIL", "SKIP"."""

    name: Name
    word: str
    text: str


class VendorRateFigures(Figures, frozen=True, kw_only=True):
    """One rate as the vendor's tool measured it, and as we did; `dies` shared the vendor's. None: not measured."""

    name: Name  # "h2d", "fp16"
    unit: Name
    theirs: Size
    dies: Positive
    ours: Size | None


class VendorFigures(Figures, frozen=True, kw_only=True):
    """Of `vendor`."""

    tool: Name  # its path
    items: list[VendorItemFigures]
    rates: list[VendorRateFigures]
    unread: dict[str, Message]  # what was asked and not answered: why not
