"""From values to places in a plot: axes with round ticks, as text that is the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 5.0, 10.0)


def usable(value: object, *, log: bool = False) -> bool:
    """Whether `value` is a number with a place on an axis."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        number = float(value)
    except OverflowError:  # JSON's integers have no bound
        return False
    return math.isfinite(number) and abs(number) < 1e300 and (not log or number > 1e-300)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end` in the units of the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; one beyond an end stands at that end."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, self._inside(value)))
        share = (at - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels: decades, or steps of 1, 2 or 5."""
        return [(self(value), _label(value)) for value in self._values()]

    def _values(self) -> list[float]:
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = max(1, -(-(last - first) // 6))
            decades = [10.0**power for power in range(first, last + 1, every)]
            inner = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
            values = [decade * step for decade in decades for step in inner]
            return [value for value in values if self.low <= value <= self.high * (1 + 1e-9)]
        step = _step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 12) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _label(value: float) -> str:
    """Four digits, and an exponent without what it does not need: 1e-5."""
    mantissa, mark, exponent = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def _step(span: float, most: int = 6) -> float:
    """The smallest of 1, 2, 5 times a power of ten that divides `span` at most `most` times."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * step for step in STEPS if span / (power * step) <= most)


def axis(
    values: Iterable[object], start: float, end: float, *, log: bool = False, zero: bool = False, room: float = 0.05
) -> Axis | None:
    """An axis that holds all usable `values` with some `room`, from zero where asked; None where there is none."""
    numbers = [float(value) for value in values if usable(value, log=log)]  # type: ignore[arg-type]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    if log:
        return Axis(low / (1 + 2 * room), high * (1 + 4 * room), start, end, log=True)
    low = min(low, 0.0) if zero else low
    margin = (high - low) * room or abs(high) * room or 1.0
    return Axis(low if zero and low == 0 else low - margin, high + margin, start, end)


def dots(points: Sequence[tuple[float, float]]) -> str:
    """A path of round dots, drawn by the ends of lines without a length."""
    return "".join(f"M{x:g} {y:g}h0" for x, y in points)


def crosses(points: Sequence[tuple[float, float]], half: float = 3.0) -> str:
    return "".join(
        f"M{x - half:g} {y - half:g}l{2 * half:g} {2 * half:g}m0-{2 * half:g}l-{2 * half:g} {2 * half:g}"
        for x, y in points
    )


def bars(points: Sequence[tuple[float, float]], half: float) -> str:
    """A path of upright strokes."""
    return "".join(f"M{x:g} {y - half:g}v{2 * half:g}" for x, y in points)


def line(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if place else 'M'}{x:g} {y:g}" for place, (x, y) in enumerate(points))
