"""What the plots of a run show, as places and paths that templates/html/plots.html.j2 draws.

Every plot has rows of text that say the same; one that has nothing to show is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from verify.report.facts import Facts, pick
from verify.report.scales import Axis, axis, bars, crosses, dots, line, usable

WIDTH = 440.0  # of a picture, in its own units: letters of 12 can be read at 320 pixels and at 640
LEFT, RIGHT, TOP = 124.0, 428.0, 8.0
ROW = 30.0
HEIGHT = 190.0  # of what has two axes
ROWS = 12  # of a course in the table beside it
DRAWN = 2000  # points of one plot: more are not told apart, and a record from elsewhere may hold any number

Point = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """One path of a plot, and its class in the style."""

    kind: str
    path: str


@dataclass(frozen=True)
class Label:
    """A text at a place."""

    x: float
    y: float
    text: str
    anchor: str = "end"


@dataclass(frozen=True)
class Plot:
    """A picture: marks over one or two axes, with what stands beside them."""

    height: float
    across: Axis
    marks: list[Mark]
    labels: list[Label] = field(default_factory=list)
    up: Axis | None = None  # the axis on the left; None where rows have names instead
    worst: str = ""  # the name of the marked point
    rows: list[tuple[str, str]] = field(default_factory=list)  # of a course: some of its values

    @property
    def bottom(self) -> float:
        return self.height - 34.0


def _numbers(values: object, *, log: bool = False) -> list[float]:
    listed = values if isinstance(values, list) else []
    return [float(value) for value in listed[:DRAWN] if usable(value, log=log)]


def latencies(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Plot | None:
    """All samples of each component over a logarithmic axis of milliseconds: steady, warm-up, cold, and the floor."""
    rows = list(rows)
    sets = [
        (
            name,
            _numbers(row.get("samples_ms"), log=True),
            _numbers(row.get("warm_ms"), log=True),
            _numbers([row.get("cold_ms")], log=True),
            _numbers([row.get("floor_ms")], log=True),
        )
        for name, row in rows
    ]
    across = axis([value for _, *groups in sets for group in groups for value in group], LEFT, RIGHT, log=True)
    if across is None:
        return None
    marks: dict[str, list[str]] = {kind: [] for kind in ("floor", "warm", "cold", "dot", "middle")}
    labels = []
    for place, (name, steady, warm, cold, floor) in enumerate(sets):
        y = TOP + ROW * (place + 0.5)
        labels.append(Label(LEFT - 8, y + 4, name))
        marks["floor"].append(bars([(across(value), y) for value in floor], 11))
        marks["warm"].append(bars([(across(value), y) for value in warm], 4))
        marks["cold"].append(crosses([(across(value), y) for value in cold]))
        marks["dot"].append(dots([(across(value), y) for value in steady]))
        marks["middle"].append(bars([(across(median(steady)), y)] if steady else [], 8))
    drawn = [Mark(kind, "".join(paths)) for kind, paths in marks.items()]
    return Plot(TOP + ROW * len(sets) + 40, across, drawn, labels)


def stack(data: object, measure: str, limit: str | None) -> Plot | None:
    """Every point in the order of the forward pass over a logarithmic axis: `measure`, and `limit` or 1 as the line.

    A point whose error is exactly zero has no place there and stands at the foot.
    """
    names, values = pick(data, "names"), pick(data, measure)
    if not isinstance(names, list) or not isinstance(values, list) or len(names) != len(values):
        return None
    bounds = pick(data, limit) if limit else [1.0] * len(values)
    if not isinstance(bounds, list) or len(bounds) != len(values):
        return None
    shown = [(n, value, bound) for n, (value, bound) in enumerate(zip(values, bounds, strict=True)) if usable(value)]
    up = axis([v for _, value, bound in shown for v in (value, bound)], HEIGHT - 34, TOP, log=True)
    if up is None or not shown:
        return None
    across = Axis(0.0, float(max(len(values) - 1, 1)), 56.0, RIGHT)
    every = -(-len(shown) // DRAWN)
    highest = max(shown, key=lambda row: (row[1] / row[2]) if usable(row[2], log=True) else 0.0)
    kept = [row for place, row in enumerate(shown) if place % every == 0 or row is highest]
    beyond = [row for row in kept if row[1] > row[2]]
    places = [(across(n), up(value)) for n, value, bound in kept if value <= bound]
    return Plot(
        HEIGHT,
        across,
        [
            Mark("limit", _limits(across, up, [(n, bound) for n, _, bound in kept if usable(bound, log=True)])),
            Mark("dot", dots(places)),
            Mark("cold", crosses([(across(n), up(value)) for n, value, _ in beyond], 2.5)),
            Mark("ring", ring(across(highest[0]), up(highest[1]))),
        ],
        up=up,
        worst=str(names[highest[0]]),
    )


def _limits(across: Axis, up: Axis, bounds: Sequence[tuple[int, float]]) -> str:
    """A level stroke for each limit, one for neighbours with the same: lines between unlike ones would be a thicket."""
    runs: list[list[tuple[int, float]]] = []
    for n, bound in bounds:
        if runs and runs[-1][-1] == (n - 1, bound):
            runs[-1].append((n, bound))
        else:
            runs.append([(n, bound)])
    return "".join(
        f"M{across(run[0][0] - 0.5):g} {up(run[0][1]):g}H{max(across(run[-1][0] + 0.5), across(run[0][0] - 0.5) + 1):g}"
        for run in runs
    )


def ring(x: float, y: float, r: float = 6.0) -> str:
    """A circle around a point."""
    return f"M{x - r:g} {y:g}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 -{2 * r:g} 0"


def intervals(rows: Sequence[tuple[str, Mapping[str, Any]]], limit: object = None) -> Plot | None:
    """A score of each group with its interval, and the limit of all."""
    rows = [(name, row) for name, row in rows if usable(row.get("value"))]
    ends = [row.get(side) for _, row in rows for side in ("low", "value", "high")]
    across = axis([*ends, limit] if rows else [], LEFT, RIGHT, zero=True)
    if across is None:
        return None
    marks, labels = [], []
    for place, (name, row) in enumerate(rows):
        y = TOP + 22.0 * (place + 0.5)
        labels.append(Label(LEFT - 8, y + 4, name))
        low, high = row.get("low"), row.get("high")
        if usable(low) and usable(high):
            marks.append(Mark("interval", f"M{across(float(low)):g} {y:g}H{across(float(high)):g}"))  # type: ignore[arg-type]
        marks.append(Mark("middle", bars([(across(float(row["value"])), y)], 6)))
    height = TOP + 22.0 * len(rows) + 40
    if usable(limit):
        marks.append(Mark("limit", f"M{across(float(limit)):g} {TOP:g}V{height - 34:g}"))  # type: ignore[arg-type]
    return Plot(height, across, marks, labels)


def course(at: object, values: object, *others: object) -> Plot | None:
    """Values over time as a line, and others of the same times as dots."""
    times = at if isinstance(at, list) else []
    series = [value if isinstance(value, list) else [] for value in (values, *others)]
    pairs = [
        [(float(t), float(v)) for t, v in zip(times, one, strict=False) if usable(t) and usable(v)][:DRAWN]
        for one in series
    ]
    across = axis([t for one in pairs for t, _ in one], 56.0, RIGHT, zero=True, room=0.01)
    up = axis([v for one in pairs for _, v in one], 110.0 - 34, TOP)
    if across is None or up is None:
        return None
    drawn = [[(across(t), up(v)) for t, v in one] for one in pairs]
    marks = [Mark("dot small", dots(points)) for points in drawn[1:]]
    every = -(-len(pairs[0]) // ROWS)
    rows = [(f"{t:.1f}", f"{v:.6g}") for t, v in pairs[0][::every]] if pairs[0] else []
    return Plot(110.0, across, [*marks, Mark("course", line(drawn[0]))], up=up, rows=rows)


def shares(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Plot | None:
    """Mean time of each component as a bar from zero, its floor as the filled part."""
    rows = [(name, row) for name, row in rows if usable(row.get("mean_ms"))]
    across = axis([v for _, row in rows for v in (row["mean_ms"], row.get("floor_ms"))], LEFT, RIGHT, zero=True)
    if across is None:
        return None
    marks, labels = [], []
    for place, (name, row) in enumerate(rows):
        y = TOP + ROW * place + 6
        labels.append(Label(LEFT - 8, y + 13, name))
        marks.append(Mark("bar", _box(across(0.0), across(float(row["mean_ms"])), y, 18)))
        if usable(row.get("floor_ms")):
            marks.append(Mark("filled", _box(across(0.0), across(float(row["floor_ms"])), y, 18)))
    return Plot(TOP + ROW * len(rows) + 40, across, marks, labels)


def _box(x: float, to: float, y: float, high: float) -> str:
    return f"M{x:g} {y:g}H{to:g}v{high:g}H{x:g}z"


def _in_gib(name: str, values: object) -> object:
    """Bytes as GiB, which an axis has room for; anything else as it is."""
    if not name.endswith("_bytes") or not isinstance(values, list):
        return values
    return [float(value) / 2**30 if usable(value) else None for value in values]


OF_THE_CARD = ("temp_c", "mhz", "power_w")  # of a card's samples (verify/run/figures/card.py)


@dataclass(frozen=True)
class Plots:
    """The plots of one run, by name."""

    facts: Facts
    times: list[tuple[str, Mapping[str, Any]]]

    @property
    def latencies(self) -> Plot | None:
        return latencies(self.times)

    @property
    def shares(self) -> Plot | None:
        """Of the parts that a pass runs; the whole is their sum and has no bar."""
        return shares(row for row in self.times if row[0] != "total")

    def stack(self, check: str) -> Plot | None:
        return stack(self.facts.of(check, "isolated", "stack"), "excess", None)

    def depth(self, check: str) -> Plot | None:
        return stack(self.facts.of(check, "end_to_end", "stack"), "rel_l2", "expected")

    @property
    def words(self) -> Plot | None:
        rows = [
            (name, score)
            for name, row in self.facts.named("speech", "transcription")
            if isinstance(score := row.get("wer"), Mapping)
        ]
        return intervals(rows, self.facts.of("speech", "limits", "wer_at_most"))

    @property
    def soak(self) -> list[tuple[str, Plot]]:
        """Time and memory of a soak's rounds, and what the card said of itself meanwhile."""
        series = self.facts.of("soak", "series")
        at = pick(series, "at_s")
        plots = [("time_s", course(at, pick(series, "time_s"), pick(series, "longest_s")))]
        others = [
            name
            for name in (series if isinstance(series, Mapping) else {})
            if name not in ("at_s", "time_s", "longest_s")
        ]
        plots += [(name, course(at, _in_gib(name, pick(series, name)))) for name in others]
        samples = self.facts.rows("soak", "card", "samples")
        asked = [sample.get("at_s") for sample in samples]
        plots += [(name, course(asked, [sample.get(name) for sample in samples])) for name in OF_THE_CARD]
        return [(name, plot) for name, plot in plots if plot is not None]
