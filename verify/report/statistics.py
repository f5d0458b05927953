"""Whether one side of runs is slower than another, by rules that do not cry wolf.

A process is one observation, however many calls it timed: calls of one process are alike (here their median moved by
12 to 24 % between processes and by 3 % within one), and rules that count calls, as the common tools have them, called
35 to 72 % of 780 pairs of the same program different. So: the median of each run, an exact permutation test of their
logarithms, Holm's correction over the figures, and no word at all on fewer than five runs a side.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations
from statistics import fmean, median, variance

from env.language import _

ENOUGH = 5  # runs a side: C(10, 5) = 252 splits, the least p is 0.008, and six figures by Holm 0.048
ALPHA = 0.05
LEAST_BAND = 0.01  # as criterion's noise threshold: no difference below it is told
# Half of what asv calls a regression (factor 1.1, asv/commands/compare.py): on a loud machine, whose spread is wider,
# nothing is the same; it cannot be told.
MOST_BAND = 0.05
RESAMPLES = 400  # of the interval, which is shown and decides only whether two sides are the same
SEED = 12345
MOST_SPLITS = 20_000  # beyond that the permutation is sampled


class Word(str, Enum):
    """What may be said of a time on the second side against the first."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "the same"
    CANNOT_TELL = "cannot tell"


WORDS = (_("slower"), _("faster"), _("the same"), _("cannot tell"))  # where the extraction of messages sees them


@dataclass(frozen=True)
class Timing:
    """One figure of both sides: the samples of each run."""

    name: str
    first: Sequence[Sequence[float]]
    second: Sequence[Sequence[float]]

    @property
    def medians(self) -> tuple[list[float], list[float]]:
        """Of each run that has a usable sample."""
        return _medians(self.first), _medians(self.second)


@dataclass(frozen=True)
class Change:
    """What became of a figure: the second side over the first."""

    name: str
    runs: tuple[int, int]
    medians: tuple[float | None, float | None]  # geometric means of the runs' medians
    ratio: float | None
    interval: tuple[float, float] | None
    p: float | None
    adjusted: float | None  # by Holm
    band: float  # within which two sides count as the same
    word: Word


def _medians(runs: Sequence[Sequence[float]]) -> list[float]:
    usable = [[value for value in run if math.isfinite(value) and value > 0] for run in runs]
    return [median(run) for run in usable if run]


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the difference of means of logarithms, over every split of all runs into sides of these sizes.

    Raises:
        ValueError: a side is empty.
    """
    if not first or not second:
        raise ValueError("both sides have runs")
    logs = [math.log(value) for value in (*first, *second)]
    total, n, m = sum(logs), len(first), len(second)
    observed = abs(fmean(logs[:n]) - fmean(logs[n:]))
    splits = math.comb(n + m, n)
    if splits <= MOST_SPLITS:
        sums = [sum(chosen) for chosen in combinations(logs, n)]
    else:
        draw = random.Random(SEED)  # noqa: S311 (statistics, not secrets)
        sums = [sum(logs[:n]), *(sum(draw.sample(logs, n)) for _ in range(MOST_SPLITS))]
    extreme = sum(abs(part / n - (total - part) / m) >= observed - 1e-12 for part in sums)
    return extreme / len(sums)


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p by name: each times the number of those not smaller, none below the one before (Holm 1979)."""
    adjusted: dict[str, float] = {}
    least = 0.0
    for place, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(ps) - place)))
        adjusted[name] = least
    return adjusted


def interval(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % of the ratio by resampling runs, then the samples in each."""
    draw = random.Random(SEED)  # noqa: S311 (statistics, not secrets)

    def side(runs: Sequence[Sequence[float]]) -> float:
        chosen = draw.choices(runs, k=len(runs))
        return fmean(math.log(resampled_median(run, draw)) for run in chosen)

    usable = [[[v for v in run if math.isfinite(v) and v > 0] for run in runs] for runs in (first, second)]
    kept = [[sorted(run) for run in runs if run] for runs in usable]
    ratios = sorted(math.exp(side(kept[1]) - side(kept[0])) for _ in range(RESAMPLES))
    return ratios[round(0.025 * (RESAMPLES - 1))], ratios[round(0.975 * (RESAMPLES - 1))]


def resampled_median(ordered: Sequence[float], draw: random.Random) -> float:
    """The median of as many draws with replacement as there are samples, which are in order, without the draws.

    The k-th smallest of n uniform draws is Beta(k, n + 1 - k); the next above it, of n - k draws beyond x, is
    x + (1 - x)(1 - v^(1/(n - k))) (David and Nagaraja, Order Statistics, 2003, 2.2 and 2.5).
    """
    n = len(ordered)
    k = (n + 1) // 2
    low = draw.betavariate(k, n + 1 - k)
    one = ordered[min(n - 1, int(low * n))]
    if n % 2:
        return one
    high = low + (1 - low) * (1 - draw.random() ** (1 / (n - k)))
    return (one + ordered[min(n - 1, int(high * n))]) / 2


def own_band(first: Sequence[float], second: Sequence[float]) -> float:
    """The machine's own band, from both sides: twice the spread of runs of one program, between the two bounds."""
    spreads = [variance([math.log(value) for value in side]) for side in (first, second) if len(side) > 1]
    return min(MOST_BAND, max(LEAST_BAND, 2 * math.sqrt(fmean(spreads)))) if spreads else LEAST_BAND


def compare(timings: Sequence[Timing], bands: Mapping[str, float] | None = None) -> list[Change]:
    """Every figure's change; `bands` are those of the machine where A/A runs measured them."""
    ps = {
        timing.name: permutation_p(*timing.medians)
        for timing in timings
        if min(len(side) for side in timing.medians) >= ENOUGH
    }
    adjusted = holm(ps)
    return [_change(timing, ps.get(timing.name), adjusted.get(timing.name), bands or {}) for timing in timings]


def _change(timing: Timing, p: float | None, adjusted: float | None, bands: Mapping[str, float]) -> Change:
    first, second = timing.medians
    middles = tuple(math.exp(fmean(map(math.log, side))) if side else None for side in (first, second))
    runs = (len(first), len(second))
    band = max(LEAST_BAND, bands.get(timing.name, own_band(first, second)))
    before, after = middles
    if before is None or after is None:
        return Change(timing.name, runs, (before, after), None, None, p, adjusted, band, Word.CANNOT_TELL)
    ratio = after / before
    shown = interval(timing.first, timing.second) if min(runs) >= ENOUGH else None
    return Change(
        timing.name, runs, (before, after), ratio, shown, p, adjusted, band, _word(ratio, shown, adjusted, band)
    )


def differs(ratio: float, adjusted: float) -> bool:
    """Whether a figure is slower or faster: beyond chance, and by more than what is never told."""
    return adjusted <= ALPHA and abs(ratio - 1) > LEAST_BAND


def _word(ratio: float, shown: tuple[float, float] | None, adjusted: float | None, band: float) -> Word:
    if adjusted is None or shown is None:
        return Word.CANNOT_TELL
    if differs(ratio, adjusted):
        return Word.SLOWER if ratio > 1 else Word.FASTER
    inside = 1 / (1 + band) <= shown[0] and shown[1] <= 1 + band
    return Word.SAME if inside else Word.CANNOT_TELL
