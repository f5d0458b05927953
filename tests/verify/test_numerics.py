from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from verify.reference import numerics
from verify.reference.limits import Limits, beyond, judge
from verify.reference.numerics import Comparison, compare


def test_measures_agree_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(7, 33, generator=generator, dtype=torch.float64)
    a = r + 0.01 * torch.randn(7, 33, generator=generator, dtype=torch.float64)
    comparison = compare(a.numpy(), r.numpy(), classes=True)
    assert comparison.rel_l2 == pytest.approx(float((a - r).norm() / r.norm()), rel=1e-12)
    assert comparison.cosine == pytest.approx(
        float(torch.cosine_similarity(a.flatten(), r.flatten(), dim=0)), rel=1e-12
    )
    assert comparison.max_abs == float((a - r).abs().max())
    assert comparison.mean_abs == pytest.approx(float((a - r).abs().mean()), rel=1e-12)
    assert comparison.top1 == float((a.argmax(-1) == r.argmax(-1)).double().mean())


EDGES: dict[str, tuple[list[float], list[float], float | None, float | None]] = {
    "both zero": ([0, 0], [0, 0], 0.0, 1.0),
    "reference zero": ([1, 0], [0, 0], math.inf, 0.0),
    "actual zero": ([0, 0], [1, 0], 1.0, 0.0),
    "opposite": ([-1, -2], [1, 2], 2.0, -1.0),
    "orthogonal": ([0, 1], [1, 0], math.sqrt(2), 0.0),
    "smallest numbers": ([5e-324, 0], [5e-324, 0], 0.0, 1.0),
    "largest numbers": ([1.7e308, 0], [-1.7e308, 0], 2.0, -1.0),
    "NaN": ([math.nan, 0], [1, 0], None, None),
    "infinity on both sides": ([math.inf, 0], [math.inf, 0], None, None),
}


@pytest.mark.parametrize(("actual", "reference", "rel_l2", "cosine"), EDGES.values(), ids=EDGES)
def test_edges(actual: list[float], reference: list[float], rel_l2: float | None, cosine: float | None) -> None:
    comparison = compare(actual, reference)
    assert comparison.rel_l2 == pytest.approx(rel_l2)
    assert comparison.cosine == pytest.approx(cosine)
    assert comparison.finite == (rel_l2 is not None)


def test_infinities_become_none_in_json() -> None:
    assert compare([1.0], [0.0]).figures.rel_l2 is None


@pytest.mark.parametrize(
    ("actual", "reference", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "shape [2, 3], [3, 2] expected"),
        (np.zeros(2), np.zeros((1, 2)), "shape [2], [1, 2] expected"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "nothing to compare: shape [0, 2]"),
    ],
)
def test_what_cannot_be_compared_is_an_error(actual: Any, reference: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        compare(actual, reference)
    assert str(caught.value) == message


BOUNDS: list[tuple[str, float | None, float, str]] = [
    ("rel_l2", 0.0, 0.0, ""),
    ("rel_l2", 0.01, 0.01, ""),
    ("rel_l2", 0.0100001, 0.01, "rel_l2 0.01, at most 0.01 allowed"),
    ("rel_l2", 0.02, 0.01, "rel_l2 0.02, at most 0.01 allowed"),
    ("rel_l2", math.inf, 0.01, "rel_l2 inf, at most 0.01 allowed"),
    ("rel_l2", -0.001, 0.01, "rel_l2 -0.001, at most 0.01 allowed"),
    ("rel_l2", math.nan, 0.01, "rel_l2 is not a number"),
    ("rel_l2", None, 0.01, "rel_l2 is not a number"),
    ("cosine", 1.0, 1.0, ""),
    ("cosine", 0.99, 0.99, ""),
    ("cosine", 0.98, 0.99, "cosine 0.980000, at least 0.990000 required"),
    ("cosine", -1.0, 0.0, "cosine -1.000000, at least 0.000000 required"),
    ("cosine", -math.inf, 0.0, "cosine -inf, at least 0.000000 required"),
    ("top1_regret", 0.0, 0.0, ""),
    ("top1_regret", 0.2, 0.1, "top1_regret 0.2, at most 0.1 allowed"),
]


@pytest.mark.parametrize(("measure", "value", "limit", "message"), BOUNDS)
def test_bounds(measure: str, value: float | None, limit: float, message: str) -> None:
    assert beyond(measure, value, limit) == message


@pytest.mark.parametrize(
    ("measure", "limit"),
    [("rel_l2", -1.0), ("rel_l2", math.inf), ("rel_l2", math.nan), ("cosine", 1.5), ("cosine", -0.5), ("speed", 1.0)],
)
def test_a_limit_that_nothing_could_fail_is_refused(measure: str, limit: float) -> None:
    with pytest.raises(ValueError, match=f"no limit on {measure}"):
        beyond(measure, 0.0, limit)


def test_every_measure_that_is_beyond_is_reported() -> None:
    error = Comparison(finite=True, identical=False, rel_l2=0.5, cosine=0.5, top1_regret=0.0)
    limits = Limits({"rel_l2": 0.1, "cosine": 0.9, "top1_regret": 0.1}, "a test")
    assert judge(error, limits) == [
        "rel_l2 0.5, at most 0.1 allowed",
        "cosine 0.500000, at least 0.900000 required",
    ]


def test_nothing_is_judged_by_no_limits() -> None:
    with pytest.raises(ValueError, match="no limits"):
        judge(compare([1.0], [1.0]), Limits({}, "a test"))


@pytest.mark.parametrize(
    ("actual", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 1.0], [0.0, 0.0], math.inf),
        ([0.0, 5.0], [0.0, 4.0], 1.0 / (4.0 + math.sqrt(8.0))),
        ([1.0, 4.0], [0.0, 4.0], 1.0 / math.sqrt(8.0)),
    ],
)
def test_the_worst_element_is_measured_by_its_own_size_and_the_typical_one(
    actual: list[float], reference: list[float], expected: float
) -> None:
    assert numerics.worst_element(np.array(actual), np.array(reference)) == pytest.approx(expected)


def test_one_wrong_element_of_many_moves_the_worst_element_and_hardly_the_norm() -> None:
    reference = np.ones(10_000)
    actual = reference.copy()
    actual[77] = 1.5
    assert numerics.relative_l2(actual, reference) == pytest.approx(5e-3)
    assert numerics.worst_element(actual, reference) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("actual", "k", "expected"),
    [([5, 4, 3, 2, 1], 2, 1.0), ([1, 2, 3, 4, 5], 2, 0.0), ([5, 1, 4, 2, 3], 2, 0.5), ([1, 2, 3, 4, 5], 9, 1.0)],
)
def test_top_k_overlap_counts_what_both_have_whatever_the_order(actual: list[int], k: int, expected: float) -> None:
    reference = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    assert numerics.top_k_overlap(np.array([actual], dtype=float), reference, k) == expected


def test_kl_is_the_divergence_of_the_two_distributions() -> None:
    """By hand: softmax [1/2, 1/2] against [3/4, 1/4] is 3/4 ln 3/2 + 1/4 ln 1/2."""
    actual, reference = np.array([[0.0, 0.0]]), np.array([[math.log(3.0), 0.0]])
    assert numerics.kl_divergence(actual, reference) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert numerics.kl_divergence(reference, reference) == 0.0
    assert numerics.kl_divergence(reference + 1000.0, reference) == pytest.approx(0.0)
