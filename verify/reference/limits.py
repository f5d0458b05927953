"""What a comparison is held to, and what is wrong with one. Free of torch and numpy: records are judged with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from env.language import _

MEASURES = ("rel_l2", "cosine", "top1_regret")  # what is judged; cosine from below, the others from above


class Compared(Protocol):
    """One tensor against another: numerics.Comparison, or the figures of one in a record. It has the MEASURES too."""

    @property
    def finite(self) -> bool: ...


@dataclass(frozen=True)
class Limits:
    """What a component may differ by, by measure, and where the numbers come from."""

    values: Mapping[str, float]
    source: str


def beyond(measure: str, value: float | None, limit: float) -> str:
    """What is wrong with `value`, or "" where it is within `limit`; the limit itself is within.

    Raises:
        ValueError: the measure is unknown, or the limit is one that nothing could fail.
    """
    lower = measure == "cosine"
    if measure not in MEASURES or not math.isfinite(limit) or limit < 0 or (lower and limit > 1):
        raise ValueError(f"no limit on {measure}: {limit}")
    if value is None or math.isnan(value):
        return _("{measure} is not a number", measure=measure)
    if lower and value < limit:
        return _("{measure} {value:.6f}, at least {limit:.6f} required", measure=measure, value=value, limit=limit)
    if not lower and not 0 <= value <= limit:
        return _("{measure} {value:.3g}, at most {limit:.3g} allowed", measure=measure, value=value, limit=limit)
    return ""


def judge(comparison: Compared, limits: Limits) -> list[str]:
    """Everything in which `comparison` is beyond `limits`. A NaN or an infinity is beyond any.

    Raises:
        ValueError: no limit at all, which would let everything pass.
    """
    if not limits.values:
        raise ValueError("no limits to judge by")
    if not comparison.finite:
        return [_("holds NaN or infinity")]
    problems = (beyond(measure, getattr(comparison, measure), limit) for measure, limit in limits.values.items())
    return [problem for problem in problems if problem]


def cosine_of(error: float) -> float:
    """The least cosine of the angle by which an error of relative size `error` turns a vector."""
    return math.sqrt(max(0.0, 1.0 - error * error))
