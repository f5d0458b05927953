"""Weights that are not the checkpoint's are named, with what became of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.components import Loaded
from verify.checks import weights
from verify.reference.numerics import same_bits

NAME = "encoder.layers.1.conv.up_conv.weight"
SIBLING = "encoder.layers.2.conv.up_conv.weight"


def changed(loaded: Loaded, change: Callable[[dict[str, torch.Tensor]], Any]) -> Loaded:
    model = copy.deepcopy(loaded.model)
    change(model.state_dict())
    return replace(loaded, model=model)


def _flip_last_bit(state: dict[str, torch.Tensor]) -> None:
    state[NAME].view(-1).view(torch.int32)[7] ^= 1


def _flip_sign(state: dict[str, torch.Tensor]) -> None:
    state[NAME].view(-1)[7] *= -1


def _some(state: dict[str, torch.Tensor]) -> None:
    state[NAME].view(-1)[:3] += torch.tensor([1.0, 2.0, -3.0])


def _minus_zero(state: dict[str, torch.Tensor]) -> None:
    state["encoder.layers.0.conv.batch_norm.num_batches_tracked"].fill_(3)


def _swap(state: dict[str, torch.Tensor]) -> None:
    kept = state[NAME].clone()
    state[NAME].copy_(state[SIBLING])
    state[SIBLING].copy_(kept)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_flip_last_bit, [(NAME, "has one wrong value: "), (NAME, ", bit 0 flipped")]),
        (_flip_sign, [(NAME, ", bit 31 flipped")]),
        (lambda state: state[NAME].mul_(1.01), [(NAME, "is scaled by 1.01")]),
        (lambda state: state[NAME].zero_(), [(NAME, "is zero")]),
        (_some, [(NAME, "differs in 3 of 65,536 values")]),
        (_swap, [(NAME, f"holds {SIBLING}"), (SIBLING, f"holds {NAME}")]),
        (_minus_zero, [("encoder.layers.0.conv.batch_norm.num_batches_tracked", "has one wrong value: 3 for 0")]),
        (lambda state: state[NAME].view(-1)[:1].fill_(torch.nan), [(NAME, "has one wrong value: nan for ")]),
    ],
)
def test_a_changed_tensor_is_named_with_what_became_of_it(
    tiny_float32: Loaded, change: Callable[[dict[str, torch.Tensor]], Any], expected: list[tuple[str, str]]
) -> None:
    found = {row.name: row.what for row in weights.measure(changed(tiny_float32, change)).differing}
    assert set(found) == {name for name, _ in expected}
    assert all(part in found[name] for name, part in expected)


@pytest.mark.parametrize("dtype", ["tiny_float32", "tiny_bfloat16"])
def test_what_the_loader_put_there_is_the_file_s(dtype: str, request: pytest.FixtureRequest) -> None:
    found = weights.measure(request.getfixturevalue(dtype))
    assert (found.differing, found.differing_count, found.not_in_checkpoint) == ([], 0, [])
    assert found.tensors == 234


def test_another_shape_dtype_or_a_missing_or_extra_tensor_is_named(tiny_float32: Loaded) -> None:
    model = copy.deepcopy(tiny_float32.model)
    model.encoder.out_mid = torch.nn.Linear(3, 4, dtype=torch.float64)
    model.encoder.out.bias = None
    model.encoder.register_buffer("extra", torch.zeros(1))
    found = weights.measure(replace(tiny_float32, model=model))
    what = {row.name: row.what for row in found.differing}
    assert what["encoder.out_mid.weight"] == "is float64 [4, 3], float32 [128, 96] expected"
    assert what["encoder.out.bias"] == "is not on the device"
    assert found.not_in_checkpoint == ["encoder.extra"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (torch.tensor([1.0]), torch.tensor([1.0]), True),
        (torch.tensor([torch.nan]), torch.tensor([torch.nan]), True),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), False),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), False),
        (torch.tensor([1.0]), torch.tensor([1.0 + 2**-23]), False),
        (torch.ones(2, 3).t(), torch.ones(3, 2), True),
        (torch.tensor(3), torch.tensor(3), True),
        (torch.zeros(0), torch.zeros(0), True),
    ],
)
def test_bits_are_compared_not_values(one: torch.Tensor, other: torch.Tensor, same: bool) -> None:
    assert same_bits(one, other) is same
