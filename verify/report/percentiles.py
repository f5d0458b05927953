"""From how many samples a percentile may be told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

CONFIDENCE = 0.99  # MLPerf's, for its early stopping of latency scenarios


@cache
def needed(quantile: float) -> int:
    """The fewest samples that bear a percentile: 11 for the median, 64 for p90, 662 for p99.

    The early stopping criterion of MLPerf's inference rules, with one sample beyond the percentile granted: the chance
    that no more than one of n lies beyond it is at most 1 - 0.99, so that the tail was seen and not hit by luck alone.
    """
    n = 2
    while quantile**n + n * (1 - quantile) * quantile ** (n - 1) > 1 - CONFIDENCE:
        n += 1
    return n


NAMES: Mapping[str, float] = MappingProxyType({"p50": 0.5, "p90": 0.9, "p99": 0.99})


def bears(name: str, samples: object) -> bool:
    """Whether `samples` are enough for the percentile of that name."""
    return isinstance(samples, (list, tuple)) and len(samples) >= needed(NAMES[name])
