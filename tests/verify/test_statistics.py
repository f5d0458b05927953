"""Comparison of times: how often it cries wolf, how often it sees a slow-down, and what it says of too little."""

from __future__ import annotations

import math
import random
from itertools import permutations
from statistics import fmean, median

import pytest

from verify.report.statistics import (
    ENOUGH,
    Timing,
    Word,
    compare,
    differs,
    holm,
    own_band,
    permutation_p,
    resampled_median,
)

PAIRS = 6  # as `nox -s bench-pair` takes
FIGURES = ("encoder", "projector", "language_model", "total", "prefill", "token")


def runs(
    draw: random.Random, n: int, *, between: float, within: float = 0.03, factor: float = 1.0
) -> list[list[float]]:
    """Samples of `n` processes: each has its own pace, and its calls are alike."""
    paces = [math.exp(draw.gauss(0, between)) for _ in range(n)]
    return [[10 * factor * pace * math.exp(draw.gauss(0, within)) for _ in range(11)] for pace in paces]


def sides(draw: random.Random, n: int, between: float, slow: str = "", factor: float = 1.0) -> list[Timing]:
    return [
        Timing(
            name,
            runs(draw, n, between=between),
            runs(draw, n, between=between, factor=factor if name == slow else 1.0),
        )
        for name in FIGURES
    ]


def alarms(timings: list[Timing]) -> list[str]:
    """The figures that are called slower or faster; no interval is needed for that, and it takes the time."""
    adjusted = holm({timing.name: permutation_p(*timing.medians) for timing in timings})
    ratios = {timing.name: fmean(timing.medians[1]) / fmean(timing.medians[0]) for timing in timings}
    return [name for name in adjusted if differs(ratios[name], adjusted[name])]


def test_the_same_program_on_both_sides_alarms_in_at_most_five_percent() -> None:
    """Of 240 comparisons of six figures each, those in which any is called slower or faster; whatever the spread is."""
    draw = random.Random(7)
    assert sum(bool(alarms(sides(draw, PAIRS, 0.24))) for _ in range(240)) <= 12


def test_a_slow_down_of_ten_percent_is_named_on_a_quiet_machine() -> None:
    draw = random.Random(11)
    named = [alarms(sides(draw, ENOUGH, 0.015, "projector", 1.10)) for _ in range(100)]
    assert sum("projector" in names for names in named) >= 95
    assert sum(names == ["projector"] for names in named) >= 90


def test_on_a_loud_machine_it_says_that_it_cannot_tell() -> None:
    draw = random.Random(13)
    results = [compare(sides(draw, ENOUGH, 0.24, "projector", 1.10), dict.fromkeys(FIGURES, 0.05)) for _ in range(10)]
    words = [next(change.word for change in result if change.name == "projector") for result in results]
    assert set(words) <= {Word.CANNOT_TELL, Word.SLOWER}
    assert words.count(Word.CANNOT_TELL) >= 9


@pytest.mark.parametrize("n", [1, 2, 4])
def test_fewer_than_five_runs_a_side_tell_nothing(n: int) -> None:
    (change,) = compare([Timing("encoder", [[10.0] * 50] * n, [[90.0] * 50] * n)])
    assert (change.word, change.p, change.interval) == (Word.CANNOT_TELL, None, None)
    assert change.ratio == pytest.approx(9.0)


def test_equal_sides_within_the_band_are_the_same() -> None:
    draw = random.Random(3)
    (change,) = compare(
        [Timing("encoder", runs(draw, 8, between=0.002), runs(draw, 8, between=0.002))], {"encoder": 0.05}
    )
    assert change.word is Word.SAME
    assert change.band == 0.05


def test_a_difference_below_one_percent_is_never_told() -> None:
    first = [[10.0 + n / 1e4] * 11 for n in range(5)]
    (change,) = compare([Timing("encoder", first, [[value * 1.005 for value in run] for run in first])])
    assert change.adjusted == pytest.approx(2 / 252)
    assert change.word is Word.SAME


def test_the_permutation_test_counts_every_split() -> None:
    first, second = [1.0, 2.0, 3.0], [4.0, 5.0]
    logs = [math.log(value) for value in (*first, *second)]

    def difference(order: tuple[float, ...]) -> float:
        return abs(sum(order[:3]) / 3 - sum(order[3:]) / 2)

    orders = list(permutations(logs))
    extreme = sum(difference(order) >= difference(tuple(logs)) - 1e-12 for order in orders)
    assert permutation_p(first, second) == pytest.approx(extreme / len(orders))
    assert permutation_p([1.0] * 5, [2.0] * 5) == pytest.approx(2 / 252)


def test_holm_s_own_example() -> None:
    """Four p-values, adjusted as R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") has them."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def test_the_band_is_between_one_percent_and_five() -> None:
    assert own_band([10.0] * 5, [10.0] * 5) == 0.01
    assert own_band([10.0, 10.2], [10.0, 10.2]) == pytest.approx(2 * math.log(1.02) / math.sqrt(2))
    assert own_band([10.0, 12.0], [10.0, 12.0]) == 0.05


def test_a_tenth_on_a_loud_machine_is_never_called_the_same() -> None:
    draw = random.Random(17)
    results = [compare(sides(draw, PAIRS, 0.24, "projector", 1.10)) for _ in range(10)]
    assert {change.word for result in results for change in result if change.name == "projector"} <= {
        Word.CANNOT_TELL,
        Word.SLOWER,
    }


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_median_is_resampled_as_by_drawing_every_sample(n: int) -> None:
    """Both ways over two thousand medians each: as many at or below every sample, within 3 standard errors."""
    draw, ordered = random.Random(19), [float(value**2) for value in range(1, n + 1)]
    fast = [resampled_median(ordered, draw) for _ in range(2000)]
    slow = [median(draw.choices(ordered, k=n)) for _ in range(2000)]
    for value in ordered:
        assert abs(sum(one <= value for one in fast) - sum(one <= value for one in slow)) <= 3 * math.sqrt(2000 / 2)


@pytest.mark.parametrize("samples", [[], [[]], [[float("nan")]], [[0.0, -1.0]]])
def test_a_side_without_a_usable_sample_cannot_be_told(samples: list[list[float]]) -> None:
    (change,) = compare([Timing("encoder", samples, [[1.0]] * 5)])
    assert (change.word, change.ratio) == (Word.CANNOT_TELL, None)
