"""Rules that the comparison of tensors holds for every input; each docstring is the rule."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from verify.checks.benchmark import summary
from verify.reference.limits import Limits, beyond, judge
from verify.reference.numerics import (
    Comparison,
    compare,
    cosine,
    regret,
    relative_l2,
    worst_element,
)

Array = NDArray[np.float64]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=6)
ANY = st.floats(allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-1e3, 1e3, allow_subnormal=False)
LIMITS = Limits({"rel_l2": 0.5, "cosine": 0.5}, "a test")


def tensors(elements: st.SearchStrategy[float]) -> st.SearchStrategy[Array]:
    return arrays.arrays(np.float64, SHAPES, elements=elements)


@st.composite
def pairs(draw: st.DrawFn, elements: st.SearchStrategy[float]) -> tuple[Array, Array]:
    shape = draw(SHAPES)
    array = arrays.arrays(np.float64, shape, elements=elements)
    return draw(array), draw(array)


@given(tensors(ANY))
def test_a_tensor_is_equal_to_itself(a: Array) -> None:
    """rel_l2(a, a) = 0, cosine(a, a) = 1, identical."""
    found = compare(a, a, classes=True)
    assert found.identical
    assert (found.rel_l2, found.max_abs, found.top1, found.top1_regret) == (0.0, 0.0, 1.0, 0.0)
    assert found.cosine == pytest.approx(1.0, abs=1e-12)


@given(pairs(ANY))
def test_finite_tensors_of_any_size_never_give_nan(pair: tuple[Array, Array]) -> None:
    """Squares neither overflow nor vanish, and cosine stays within [-1, 1]."""
    found = compare(*pair)
    assert found.rel_l2 is not None
    assert not math.isnan(found.rel_l2)
    assert found.cosine is not None
    assert -1.0 <= found.cosine <= 1.0


@given(pairs(MODERATE))
def test_relative_error_is_the_textbook_s(pair: tuple[Array, Array]) -> None:
    """rel_l2 = |a - r| / |r|."""
    a, r = pair
    assume(np.linalg.norm(r) > 1e-3)
    assert relative_l2(a, r) == pytest.approx(np.linalg.norm(a - r) / np.linalg.norm(r), rel=1e-9, abs=1e-12)


@given(pairs(MODERATE), st.integers(-40, 40))
def test_a_common_factor_changes_nothing(pair: tuple[Array, Array], power: int) -> None:
    """Both measures of 2^k a against 2^k r are those of a against r."""
    a, r = (np.where(np.abs(x) < 1e-3, 0.0, x) for x in pair)
    factor = 2.0**power
    assert relative_l2(a * factor, r * factor) == pytest.approx(relative_l2(a, r), rel=1e-12)
    assert cosine(a * factor, r * factor) == pytest.approx(cosine(a, r), rel=1e-9, abs=1e-12)


@given(pairs(st.floats(0.5, 1.0)), st.floats(0.0, 0.9))
def test_cosine_follows_from_the_relative_error(pair: tuple[Array, Array], size: float) -> None:
    """The cosine is at least sqrt(1 - e^2) where e = rel_l2 < 1: what bounds.limits derives its limit from."""
    noise, r = pair
    a = r + size * (noise - 0.75)
    error = relative_l2(a, r)
    assert error < 1.0
    assert cosine(a, r) >= math.sqrt(1.0 - error * error) - 1e-9


@given(tensors(ANY), st.sampled_from([math.nan, math.inf, -math.inf]), st.data(), st.booleans())
def test_one_bad_value_anywhere_is_beyond_every_limit(
    a: Array, bad: float, data: st.DataObject, in_actual: bool
) -> None:
    """A NaN or an infinity in one element of either side fails, with the same message."""
    damaged = a.copy()
    damaged.flat[data.draw(st.integers(0, a.size - 1))] = bad
    found = compare(damaged, a) if in_actual else compare(a, damaged)
    assert not found.finite
    assert judge(found, LIMITS) == ["holds NaN or infinity"]


@given(pairs(ANY))
def test_the_worst_element_is_never_nan(pair: tuple[Array, Array]) -> None:
    """It is at least 0 for tensors of any size, and infinite at worst."""
    assert worst_element(*pair) >= 0


@given(pairs(MODERATE))
def test_the_worst_element_is_zero_exactly_where_nothing_differs(pair: tuple[Array, Array]) -> None:
    """It is 0 if and only if a = r."""
    a, r = pair
    assert (worst_element(a, r) == 0) == bool((a == r).all())


@given(pairs(MODERATE))
def test_regret_is_zero_exactly_where_the_best_is_chosen(pair: tuple[Array, Array]) -> None:
    """regret(chosen) = 0 if and only if every chosen score is the largest of its row."""
    a, r = pair
    chosen = a.argmax(axis=-1)
    best = np.take_along_axis(r, chosen[..., None], axis=-1)[..., 0] == r.max(axis=-1)
    found = regret(chosen, r)
    assert found >= 0
    assert (found == 0) == bool(best.all())


@given(pairs(MODERATE))
def test_regret_is_at_most_twice_the_largest_error(pair: tuple[Array, Array]) -> None:
    """A choice by scores that are off by d at most costs at most 2 d."""
    a, r = (np.atleast_2d(x) for x in pair)
    size = np.sqrt(np.mean(np.square(r), axis=-1))
    assume(float(size.min()) > 1e-3)
    assert regret(a.argmax(axis=-1), r) <= 2 * float(np.abs(a - r).max()) / float(size.min()) + 1e-9


@given(pairs(ANY))
def test_every_comparison_is_json(pair: tuple[Array, Array]) -> None:
    """What goes into a record holds no NaN and no infinity."""
    values = compare(*pair, classes=True).figures.as_json().values()
    assert all(value is None or math.isfinite(value) for value in values)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_an_upper_limit_lets_through_what_is_at_most_it(value: float, limit: float) -> None:
    """rel_l2 passes if and only if value <= limit."""
    assert (beyond("rel_l2", value, limit) == "") == (value <= limit)


@given(st.floats(-1, 1), st.floats(0, 1))
def test_a_lower_limit_lets_through_what_is_at_least_it(value: float, limit: float) -> None:
    """A cosine passes if and only if value >= limit."""
    assert (beyond("cosine", value, limit) == "") == (value >= limit)


@given(st.floats(max_value=-1e-9) | st.just(math.nan) | st.just(math.inf))
def test_a_limit_that_makes_no_sense_is_refused(limit: float) -> None:
    """A limit that is negative, infinite or NaN is an error, never a pass."""
    with pytest.raises(ValueError, match="no limit on rel_l2"):
        beyond("rel_l2", 0.0, limit)


@given(st.sampled_from(["rel_l2", "cosine", "top1_regret"]), st.none() | st.just(math.nan), st.floats(0, 1))
def test_what_is_no_number_never_passes(measure: str, value: Any, limit: float) -> None:
    """None and NaN are beyond every limit."""
    assert beyond(measure, value, limit) == f"{measure} is not a number"
    assert judge(Comparison(finite=True, identical=False), Limits({measure: limit}, "a test"))


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60))
def test_percentiles_are_ordered_and_within_the_samples(samples: list[float]) -> None:
    """Smallest <= p50 <= p90 <= p99 <= largest, and the mean is within too."""
    found = summary(samples)
    low, high = min(samples), max(samples)
    ordered = [low, found.p50_ms, found.p90_ms, found.p99_ms, high]
    assert all(a <= b * (1 + 1e-12) for a, b in itertools.pairwise(ordered))
    assert low * (1 - 1e-12) <= found.mean_ms <= high * (1 + 1e-12)
