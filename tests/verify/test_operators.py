"""Single operators against float64: the CPU's own pass, and one that is computed otherwise is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.device import resolve
from verify.reference import operators
from verify.reference.figures import OperatorFigures

DTYPES = ("float32", "bfloat16", "float16")


def test_the_cpu_computes_every_operator_within_what_the_vendor_accepts() -> None:
    figures = operators.measure(resolve("cpu"), DTYPES, seed=42)
    assert operators.explanation(figures) == []
    assert {row.dtype for row in figures} == set(DTYPES)
    assert len({row.name for row in figures}) >= 12
    assert [row.error for row in figures if row.name == "masked_scatter"] == [0.0, 0.0, 0.0]


def _gelu_by_tanh(points: Tensor) -> Tensor:
    return functional.gelu(points, approximate="tanh")


def _shortened(tensor: Tensor) -> Tensor:
    """To 11 bits of mantissa, which is what HF32 keeps."""
    return ((tensor.view(torch.int32) + (1 << 11)) & -(1 << 12)).view(torch.float32)


def _inverted_mask(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mask = torch.ones(query.shape[-2], query.shape[-2], dtype=torch.bool).triu()
    return functional.scaled_dot_product_attention(query, key, value, mask)


WRONG: dict[str, Callable[..., Tensor]] = {
    "gelu": _gelu_by_tanh,
    "matmul": lambda left, right: _shortened(left) @ _shortened(right),
    "attention, heads of 128, causal": _inverted_mask,
    "cos": lambda angles: torch.cos(angles.half().float()),  # as a chip without float32 products makes it
    "exp": lambda points: torch.full_like(points, torch.nan),
    "masked_scatter": lambda embeddings, mask, audio: embeddings.masked_scatter(mask, audio.flip(0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_operator_that_is_computed_otherwise_departs_and_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    right = next(operator for operator in operators.OPERATORS if operator.name == name)

    def compute(*inputs: Tensor) -> Tensor:
        """Right in float64, where the expectation is made."""
        return (right.compute if inputs[0].dtype == torch.float64 else WRONG[name])(*inputs)

    monkeypatch.setattr(operators, "OPERATORS", (replace(right, compute=compute),))
    figures = operators.measure(resolve("cpu"), ("float32",), seed=42)
    assert [row.departs for row in figures] == [True]
    assert f"{name} in float32" in operators.explanation(figures)[0]


def test_which_of_equal_maxima_is_taken() -> None:
    assert operators.equal_maxima(resolve("cpu")) == "first"


def test_a_product_with_hf32_allowed_explains_no_layer() -> None:
    """No model computes it; on an Atlas A2 it is as far off as HF32 is."""
    row = OperatorFigures(name=operators.PRODUCT_IN_HF32.name, dtype="float32", error=1.0, limit=0.1, departs=True)
    assert operators.explanation([row]) == []
