"""What the plots of a comparison show: both sides' times, run by run, and the error of every point side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verify.report.comparison import Comparison
from verify.report.plots import DRAWN, HEIGHT, LEFT, RIGHT, TOP, Label, Mark, Plot, ring
from verify.report.scales import Axis, axis, bars, dots, line
from verify.report.statistics import Change, Timing

ROW = 36.0  # two lines of dots
APART = 8.0  # the lines of A and B from the middle of a row


def times(timings: Sequence[Timing], changes: Sequence[Change]) -> Plot | None:
    """The median of every run over the mean of side A's, which is 1; on side B the mean with its 95 % interval."""
    rows = [
        (change, _over(timing.medians[0], change.medians[0]), _over(timing.medians[1], change.medians[0]))
        for timing, change in zip(timings, changes, strict=True)
        if change.medians[0]
    ]
    ends = [end for change, *_ in rows for end in change.interval or ()]
    across = axis([*(v for _, *sides in rows for side in sides for v in side), *ends, 1.0] if rows else [], LEFT, RIGHT)
    if across is None:
        return None
    height = TOP + ROW * len(rows) + 40
    marks = [Mark("grid-one", f"M{across(1.0):g} {TOP:g}V{height - 34:g}")]
    labels = []
    for place, (change, first, second) in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        labels.append(Label(LEFT - 8, y + 4, change.name))
        marks.append(Mark("dot", dots([(across(value), y - APART) for value in first])))
        marks.append(Mark("dot other", dots([(across(value), y + APART) for value in second])))
        if change.interval is not None and change.ratio is not None:
            low, high = (across(end) for end in change.interval)
            marks.append(Mark("mean", f"M{low:g} {y + APART:g}H{high:g}"))
            marks.append(Mark("mean", bars([(across(change.ratio), y + APART)], 5)))
        marks.append(Mark("mean", bars([(across(1.0), y - APART)] if first else [], 5)))
    return Plot(height, across, marks, labels)


def _over(medians: Sequence[float], middle: float | None) -> list[float]:
    return [value / middle for value in medians] if middle else []


def errors(first: Mapping[str, float | None], second: Mapping[str, float | None], moved: Sequence[str]) -> Plot | None:
    """Error over limit of every point on both sides in the order of the forward pass, a ring where it `moved`."""
    names = list(first) or list(second)
    every = max(1, -(-len(names) // DRAWN))
    kept = [n for n, name in enumerate(names) if n % every == 0 or _layer(name) in moved]
    values = [[side.get(names[n]) for n in kept] for side in (first, second)]
    up = axis([*(v for side in values for v in side), 1.0], HEIGHT - 34, TOP, log=True)
    if up is None or all(v is None for side in values for v in side):
        return None
    across = Axis(0.0, float(max(len(names) - 1, 1)), 56.0, RIGHT)
    places = [[(across(n), up(v)) for n, v in zip(kept, side, strict=True) if v is not None] for side in values]
    rings = [(across(n), up(v)) for n, v in zip(kept, values[1], strict=True) if v is not None and names[n] in moved]
    ends = [(across(0.0), up(1.0)), (across(float(len(names) - 1)), up(1.0))]
    return Plot(
        HEIGHT,
        across,
        [
            Mark("limit", line(ends)),
            Mark("dot", dots(places[0])),
            Mark("dot other", dots(places[1])),
            Mark("ring", "".join(ring(x, y) for x, y in rings)),
        ],
        up=up,
    )


@dataclass(frozen=True)
class SidePlots:
    """The plots of one comparison; of times only where they may be compared."""

    comparison: Comparison

    @property
    def times(self) -> Plot | None:
        compared = not self.comparison.incomparable
        return times(self.comparison.timings, self.comparison.changes) if compared else None

    def medians(self) -> list[tuple[str, str, list[float]]]:
        """Figure, side, and the median of each run in milliseconds."""
        both = [(t.name, zip("AB", t.medians, strict=True)) for t in self.comparison.timings]
        return [(name, side, medians) for name, sides in both for side, medians in sides]

    def errors(self, check: str) -> Plot | None:
        return errors(*self.comparison.errors(check), [moved.name for moved in self.comparison.layers])

    def furthest(self, check: str) -> list[tuple[str, float | None, float | None]]:
        return furthest(*self.comparison.errors(check))


def _layer(name: str) -> str:
    return name.partition(" > ")[0]


def furthest(
    first: Mapping[str, float | None], second: Mapping[str, float | None], most: int = 12
) -> list[tuple[str, float | None, float | None]]:
    """The points whose errors differ by the largest factor, those without one number first."""

    def factor(name: str) -> float:
        one, other = first[name], second[name]
        if not one or not other:
            return 0.0 if one == other else math.inf
        return max(one / other, other / one)

    both = sorted((name for name in first if name in second), key=factor, reverse=True)
    return [(name, first[name], second[name]) for name in both[:most]]
