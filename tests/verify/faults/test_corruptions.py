"""What each fault does to a tensor, and what it leaves alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from verify.faults.corruptions import bit_number, corrupt
from verify.faults.spec import BITS, CORRUPTIONS, Fault

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SAMPLE = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def fault(kind: str, **fields: Any) -> Fault:
    return Fault(at="op", target="*", kind=kind, **fields)


EXAMPLES = {
    "scale": fault("scale", size=1.01), "noise": fault("noise", size=1e-2), "bitflip": fault("bitflip", bit="sign"),
    "bf16_round": fault("bf16_round"), "fp16_round": fault("fp16_round"), "nan": fault("nan"), "inf": fault("inf"),
    "zero": fault("zero"), "shift": fault("shift"), "transpose": fault("transpose"),
    "swap_halves": fault("swap_halves"), "multibit": fault("multibit", bits=3), "reseed": fault("reseed"),
}  # fmt: skip


def test_every_corruption_is_tested_but_the_one_that_needs_a_memory() -> None:
    assert set(EXAMPLES) == CORRUPTIONS - {"stale"}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_corruption_changes_values_only_and_never_its_input(kind: str) -> None:
    before = SAMPLE.clone()
    result = corrupt(SAMPLE, EXAMPLES[kind])
    assert torch.equal(SAMPLE, before)
    assert (result.shape, result.dtype) == (SAMPLE.shape, SAMPLE.dtype)
    assert not torch.equal(result, SAMPLE)
    assert torch.equal(corrupt(SAMPLE, EXAMPLES[kind]), result) or kind == "nan"


@pytest.mark.parametrize("kind", ["nan", "inf", "bitflip"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_element_is_hit_and_its_place_can_be_chosen(kind: str, dtype: torch.dtype) -> None:
    sample = SAMPLE.to(dtype)
    result = corrupt(sample, fault(kind, bit="sign", element=7))
    different = [i for i, (a, b) in enumerate(zip(result.flatten(), sample.flatten(), strict=True)) if a != b]
    assert different == [7]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_bits_are_those_of_ieee_754(dtype: torch.dtype) -> None:
    one = torch.ones(1, dtype=dtype)
    flipped = {bit: float(corrupt(one, fault("bitflip", bit=bit))[0]) for bit in BITS}
    mantissa = {torch.float32: 23, torch.bfloat16: 7, torch.float16: 10}[dtype]
    assert flipped["sign"] == -1
    assert math.isinf(flipped["exponent_top"])  # 0111..1 becomes all ones
    assert flipped["exponent_low"] == 0.5
    assert flipped["mantissa_top"] == 1.5
    assert flipped["mantissa_low"] == 1 + 2.0**-mantissa
    assert len({bit_number(bit, dtype) for bit in BITS}) == len(BITS)


def test_a_slice_limits_a_corruption() -> None:
    result = corrupt(SAMPLE, fault("zero", dim=1, start=2, stop=4))
    assert result[:, 2:4].abs().sum() == 0
    assert torch.equal(result[:, :2], SAMPLE[:, :2])
    assert torch.equal(result[:, 4:], SAMPLE[:, 4:])


def test_noise_has_the_asked_size_and_differs_from_call_to_call() -> None:
    wide = torch.ones(200, 200)
    first, second = corrupt(wide, fault("noise", size=1e-3), 1), corrupt(wide, fault("noise", size=1e-3), 2)
    assert float((first - wide).std()) == pytest.approx(1e-3, rel=0.05)
    assert not torch.equal(first, second)


def test_a_weight_from_another_seed_has_the_same_spread() -> None:
    wide = 3 + 0.1 * torch.randn(200, 200, generator=torch.Generator().manual_seed(0))
    result = corrupt(wide, fault("reseed"))
    assert float(result.mean()) == pytest.approx(3, abs=0.01)
    assert float(result.std()) == pytest.approx(0.1, rel=0.05)


def test_positions_are_moved_but_not_made_into_fractions() -> None:
    positions = torch.arange(6).view(2, 3)
    assert corrupt(positions, fault("shift")).tolist() == [[2, 0, 1], [5, 3, 4]]
    assert corrupt(positions, fault("transpose")).tolist() == [[0, 3, 1], [4, 2, 5]]
    assert torch.equal(corrupt(positions, fault("scale", size=1.5)), positions)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("where", "hit"),
    [
        ({"element": 5}, [5]),
        ({"element": 2, "period": 7}, [2, 9, 16, 23]),
        ({"tile": 2}, [0, 1, 6, 7]),
    ],
    ids=["one word", "a period", "a tile"],
)
def test_the_same_bits_of_a_word_are_flipped_where_it_is_said(
    dtype: torch.dtype, where: dict[str, int], hit: list[int]
) -> None:
    sample = SAMPLE.to(dtype)
    integer = torch.int32 if dtype == torch.float32 else torch.int16
    result = corrupt(sample, fault("multibit", bits=3, seed=4, **where))
    flipped = (result.view(integer) ^ sample.view(integer)).flatten()
    assert [i for i, bits in enumerate(flipped.tolist()) if bits] == hit
    assert len(set(flipped[hit].tolist())) == 1
    assert bin(int(flipped[hit[0]]) & (2 ** (8 * sample.element_size()) - 1)).count("1") == 3


@pytest.mark.parametrize(
    ("where", "hit"),
    [({"element": 5}, [5]), ({"element": 2, "period": 8}, [2, 10, 18]), ({"tile": 2}, [0, 1, 6, 7])],
    ids=["one value", "a period", "a tile"],
)
def test_values_are_nullified_where_it_is_said(where: dict[str, int], hit: list[int]) -> None:
    result = corrupt(SAMPLE, fault("zero", **where)).flatten()
    assert [i for i, value in enumerate(result.tolist()) if value == 0] == hit
    untouched = [i for i in range(SAMPLE.numel()) if i not in hit]
    assert torch.equal(result[untouched], SAMPLE.flatten()[untouched])
