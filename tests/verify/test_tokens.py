"""Greedy tokens: a tie is where the reference itself hardly minds, and anything else that differs is a fault."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from model.components import Inputs, Loaded
from verify.checks import tokens
from verify.reference.figures import Bound
from verify.reference.values import Expected
from verify.run import judgement

BAND = Bound(rel_l2=0.01, worst_element=0.01)
# Three steps over four tokens; the root mean square of every row is about 5.1, so that a tie is below about 0.3.
SCORES = np.array([[10.0, 9.9, 0, 0], [10.0, 0, 9.0, 0], [1.0, 2.0, 10.0, 3.0]])
BEST = np.array([0, 0, 2])


@pytest.mark.parametrize(
    ("taken", "same", "passed"),
    [
        ([0, 0, 2], 3, True),
        ([1, 3, 3], 0, True),  # a tie, after which the texts may differ
        ([0, 2, 2], 1, False),
        ([0, 0, 1], 2, False),
    ],
)
def test_a_free_decoding_is_compared_up_to_the_first_difference(taken: list[int], same: int, passed: bool) -> None:
    found = tokens.free_run(np.array(taken), SCORES, BEST, SCORES, BAND)
    assert (found.same, found.passed) == (same, passed)


def test_scores_that_leave_the_band_are_a_fault_though_every_token_is_the_same() -> None:
    scores = SCORES * np.array([[1.0], [1.02], [1.0]])
    found = tokens.free_run(BEST, scores, BEST, SCORES, BAND)
    assert (found.same, found.departs_at, found.passed) == (3, 1, False)
    assert found.problems(BAND.rel_l2) == ["the scores of token 1 are off by 2.0e-02, expected below 1.0e-02"]


@pytest.mark.parametrize(
    ("taken", "same", "ties", "wrong"), [([0, 0, 2], 3, 0, 0), ([1, 0, 2], 2, 1, 0), ([1, 2, 3], 0, 1, 2)]
)
def test_a_forced_pass_is_compared_at_every_step(taken: list[int], same: int, ties: int, wrong: int) -> None:
    found = tokens.forced_run(np.array(taken), BEST, SCORES, BAND)
    assert (found.same, found.ties, len(found.wrong)) == (same, ties, wrong)


def test_what_is_still_a_tie_follows_from_the_band_of_both_scores() -> None:
    found = tokens.choice(0, 1, 0, SCORES[0], BAND)
    size = float(np.sqrt(np.mean(SCORES[0] ** 2)))
    assert found.margin == pytest.approx(0.1)
    assert found.tie_below == pytest.approx(0.01 * (10.0 + 9.9 + 2 * size))


@pytest.mark.parametrize("dtype", ["tiny_float32", "tiny_bfloat16"])
def test_a_right_model_takes_the_reference_s_tokens(
    dtype: str, request: pytest.FixtureRequest, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    data = tokens.measure(request.getfixturevalue(dtype), tiny_inputs, tiny_expected)
    assert judgement.of_tokens(data) == []
    assert data.free[0].same == data.forced[0].same == tiny_expected.tokens.shape[1]


def stale_cache(loaded: Loaded) -> Loaded:
    """One layer is given, at one step, what it had the step before."""
    model = copy.deepcopy(loaded.model)
    attention = model.language_model.model.layers[1].self_attn
    right, seen = attention.forward, []

    def forward(hidden_states: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.append(hidden_states.clone())
        return right(seen[-2] if len(seen) == 5 else hidden_states, *arguments, **options)

    attention.forward = forward
    return replace(loaded, model=model)


@pytest.mark.parametrize("dtype", ["tiny_float32", "tiny_bfloat16"])
def test_a_cache_that_is_stale_for_one_step_is_caught_at_that_step(
    dtype: str, request: pytest.FixtureRequest, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    stale = stale_cache(request.getfixturevalue(dtype))
    (row,) = tokens.decoded(stale, tiny_inputs, tiny_expected)
    assert row.departs_at == 4


def test_scores_that_are_not_finite_are_said_to_be(
    tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    model = copy.deepcopy(tiny_float32.model)
    model.language_model.lm_head.register_forward_hook(lambda module, args, output: output * torch.nan)
    data = tokens.measure(replace(tiny_float32, model=model), tiny_inputs, tiny_expected)
    assert "scores hold NaN or infinity" in judgement.of_tokens(data)
