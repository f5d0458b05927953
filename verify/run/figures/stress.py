"""Figures of the vendor's own test for silent errors."""

from __future__ import annotations

from typing import Literal

from verify.reference.figures import Count, Figures, Size
from verify.run.figures.card import CardFigures


class StressFigures(Figures, frozen=True, kw_only=True):
    """Of `stress`: what torch_npu.npu.stress_detect came to, where it ran. `code` is what CANN returned, if told."""

    mode: Literal["aic"]  # of the AI cores; "hccs", of the links, is not run
    result: Literal["passed", "faulty", "voltage"]
    code: Count | None
    seconds: Size
    workspace_bytes: Count
    printed: str  # by torch-npu, meanwhile
    card: CardFigures | None = None
