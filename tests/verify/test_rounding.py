"""An ideal device: each operator is exact and rounds once, in the dtype that the model's own code gives it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from verify.reference.rounding import STOCHASTIC_EXCESS, RoundOnce, stochastic

NARROW = (torch.bfloat16, torch.float16, torch.float32)


def drawn(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)).to(dtype)


def _rms_norm(x: torch.Tensor) -> torch.Tensor:
    wide = x.to(torch.float32)
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(
    "operator",
    [
        lambda x: torch.nn.functional.linear(x, x, x[:, 0]),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:]),
        lambda x: torch.einsum("a b, c b -> a c", x, x),
        lambda x: x.softmax(-1),
        lambda x: 0.6 * x,
    ],
    ids=["linear", "attention", "layer_norm", "einsum", "softmax", "product"],
)
def test_an_operator_is_exact_and_rounded_once(
    operator: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> None:
    x = drawn(24, 24, dtype=dtype)
    with torch.inference_mode(), RoundOnce(torch.float64):
        result = operator(x)
    assert result.dtype == dtype
    assert torch.equal(result, operator(x.double()).to(dtype))


def test_two_operators_round_twice() -> None:
    x = drawn(100, dtype=torch.bfloat16)
    with torch.inference_mode(), RoundOnce(torch.float64):
        result = x * 0.6 - x
    assert torch.equal(result, ((x.double() * 0.6).bfloat16().double() - x.double()).bfloat16())
    assert not torch.equal(result, (x.double() * 0.6 - x.double()).bfloat16())


def test_what_the_code_casts_to_float32_is_rounded_to_float32() -> None:
    x = drawn(7, 256, dtype=torch.bfloat16)
    with torch.inference_mode(), RoundOnce(torch.float64):
        result = _rms_norm(x)
    exact = x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-6)
    assert result.dtype == torch.bfloat16
    assert (result != exact.bfloat16()).float().mean() < 1e-3


def test_what_only_widens_or_moves_values_rounds_nothing() -> None:
    x = drawn(50, 8, dtype=torch.bfloat16)
    with torch.inference_mode(), RoundOnce(torch.float64, seed=2):
        wider, finer = x.to(torch.float32), x.to(torch.float16)
        coarser = finer.to(torch.bfloat16)
        rows = torch.nn.functional.embedding(torch.tensor([7, 0]), x)
    assert torch.equal(wider, x.float())
    assert torch.equal(finer, x.half())
    assert torch.equal(coarser, x)
    assert torch.equal(rows, x[[7, 0]])


def test_views_stay_views_and_are_written_through() -> None:
    x = drawn(4, 6, dtype=torch.bfloat16)
    with torch.inference_mode(), RoundOnce(torch.float64):
        result = x.clone()
        part = result[:, 2:4].transpose(0, 1)
        part += 0.3
        part.masked_fill_(part > 1, -1.0)
    expected = x.clone()
    exact = (expected[:, 2:4].double() + 0.3).bfloat16()
    expected[:, 2:4] = exact.masked_fill(exact > 1, -1.0)
    assert torch.equal(result, expected)


def test_what_an_operator_reads_is_never_written_and_whole_numbers_are_let_be() -> None:
    weight = torch.nn.Parameter(drawn(5, 3, dtype=torch.bfloat16), requires_grad=False)
    before, ids = weight.clone(), torch.tensor([0, 4, 4])
    with torch.inference_mode(), RoundOnce(torch.float64, seed=1):
        rows = torch.nn.functional.embedding(ids, torch.nn.functional.dropout(weight, training=False))
        places = (ids + 1).cumsum(0)
    assert torch.equal(weight, before)
    assert torch.equal(rows, before[ids])
    assert places.tolist() == [1, 6, 11]


@pytest.mark.parametrize("dtype", NARROW)
def test_rounding_at_random_takes_a_neighbour_is_right_in_the_mean_and_has_twice_the_variance(
    dtype: torch.dtype,
) -> None:
    """E[f(1 - f)] = 1/6 of an ulp squared for a fraction f that is uniform, against 1/12 to nearest."""
    unit = torch.finfo(dtype).eps
    generator = torch.Generator().manual_seed(4)
    exact = 1 + torch.rand(200_000, generator=generator, dtype=torch.float64) * (0.9 - unit)
    exact = exact * torch.where(torch.rand(exact.shape, generator=generator) < 0.5, -1, 1)
    error = (stochastic(exact, dtype, generator).double() - exact) / unit
    nearest = (exact.to(dtype).double() - exact) / unit
    assert error.abs().max() < 1
    assert abs(error.mean()) < 5e-3
    assert float(error.std() / nearest.std()) == pytest.approx(STOCHASTIC_EXCESS, rel=0.01)


@pytest.mark.parametrize("dtype", NARROW)
def test_what_the_dtype_holds_is_left_as_it_is(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    exact = torch.tensor([0.0, -0.0, 1.0, -1.5, largest, -largest, torch.inf, torch.nan]).double()
    result = stochastic(exact, dtype, torch.Generator().manual_seed(5))
    assert torch.equal(result.nan_to_num(nan=7.0), exact.to(dtype).nan_to_num(nan=7.0))


def test_a_seed_is_one_device_and_another_seed_another() -> None:
    x = drawn(64, 64, dtype=torch.bfloat16)

    def run(seed: int) -> torch.Tensor:
        with torch.inference_mode(), RoundOnce(torch.float64, seed):
            return x @ x

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
