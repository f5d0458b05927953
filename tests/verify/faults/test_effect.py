"""A fault's effect on outputs is told in units of the dtype's own noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verify.faults import effect
from verify.faults.effect import ratio

REFERENCE = np.array([3.0, 4.0])
CLEAN = np.array([3.0, 4.001])  # the dtype's own error: 1e-3


def moved(values: effect.Array, by: float) -> effect.Array:
    return np.asarray(values + np.array([0.0, by]), dtype=np.float64)


@pytest.mark.parametrize(
    ("faulty", "expected"),
    [
        (CLEAN, 0.0),
        (moved(CLEAN, 1e-3), 1.0),
        (moved(CLEAN, 5e-2), 50.0),
        (np.array([3.0, np.nan]), np.inf),
        (np.array([3.0, np.inf]), np.inf),
        (np.array([3.0, 4.0, 5.0]), np.inf),
    ],
)
def test_effect_is_the_move_over_the_dtypes_own_error(faulty: effect.Array, expected: float) -> None:
    assert ratio(faulty, CLEAN, REFERENCE, "float32") == pytest.approx(expected)


def test_an_output_that_is_exact_when_clean_is_measured_by_the_unit_roundoff() -> None:
    assert ratio(moved(REFERENCE, 5 * 2.0**-8), REFERENCE, REFERENCE, "bfloat16") == pytest.approx(1.0)


def test_scores_are_compared_up_to_the_first_other_token() -> None:
    clean = np.array([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    faulty = np.array([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    ours, own, _ = effect._comparable(faulty, clean, clean)
    assert ours.tolist() == [[[1.0, 0.0], [0.0, 1.0]]]
    assert own.shape == ours.shape


def test_scores_are_compared_up_to_the_first_tie_that_only_one_of_them_has() -> None:
    """There a CPU goes on with the first of the two, and an NPU with the last."""
    clean = np.array([[[1.0, 0.9], [1.0, 0.9], [1.0, 0.0]]])
    faulty = np.array([[[1.0, 0.9], [1.0, 1.0], [9.0, 9.0]]])
    ours, _, _ = effect._comparable(faulty, clean, clean)
    assert ours.tolist() == [[[1.0, 0.9], [1.0, 1.0]]]


def test_the_largest_output_is_named_and_what_is_not_finite_has_no_number(tmp_path: Path) -> None:
    effect.write(tmp_path / "clean-float32.npz", {"encoder": CLEAN, "projector": CLEAN})
    effect.write(tmp_path / "wide-float32.npz", {"encoder": REFERENCE, "projector": REFERENCE})
    largest = effect._largest({"encoder": CLEAN, "projector": moved(CLEAN, 2e-3)}, tmp_path, "float32")
    assert largest == {"effect": pytest.approx(2.0), "where": "projector"}
    broken = effect._largest({"encoder": CLEAN * np.nan, "projector": moved(CLEAN, 2e-3)}, tmp_path, "float32")
    assert broken == {"effect": None, "where": "encoder"}
