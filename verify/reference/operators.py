"""Single operators of the model on the device, each against float64: which of them a departure of a layer comes from.

A layer that departs says where, not why. An operator here is one call with inputs of its own, made in the dtype, so
that its error is the operator's alone. It departs where one element is off by more than the vendor accepts of a single
operator: the floors of limits.toml, which are also the thresholds of the operator precision standard that the CANN
community's skills publish (2^-7, 2^-10, 2^-13, and 2^-11 for HF32). Nothing is failed by it: what a model's output owes
to its operators the layers measure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from env.language import _
from model.components import torch_dtype
from model.device import Device, runtime_errors
from verify.reference.bounds import floor
from verify.reference.figures import OperatorFigures
from verify.reference.numerics import as_array, worst_element

POINTS = 4096
ROWS, CLASSES = 64, 512
MATRIX = 256
HEAD_SIZES = {
    "stand-in": 40,
    "published": 128,
}  # hidden_size / num_attention_heads of the bundled and the 2B config.json
CONFORMER_HEAD = 128  # dim_head
LAST_POSITION, ROPE_BASE = 4095, 10000.0  # max_position_embeddings - 1 and rope_theta of both
KERNEL = 15  # conv_kernel_size of the conformer
# HF32 rounds both factors to 2^-12 of themselves: the worst of a product's sums is 4.5 of their deviations off, 6e-4.
HF32_LIMIT = 2.0**-10

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Operator:
    """One call. `inputs` are float32 and are rounded to the dtype before device and float64 see them."""

    name: str
    compute: Callable[..., Tensor]
    inputs: Callable[[torch.Generator], Inputs]
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")


def measure(device: Device, dtypes: tuple[str, ...], seed: int) -> list[OperatorFigures]:
    """Every operator in each of the dtypes: its largest error of one element against float64.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    figures = [
        _measure(operator, device, dtype, seed)
        for operator in OPERATORS
        for dtype in dict.fromkeys(dtypes)
        if dtype in operator.dtypes
    ]
    return [*figures, _hf32(device, seed)] if device.kind == "npu" else figures


def half(device: Device) -> str:
    """The 16-bit dtype to measure where none was asked for: the model's own, where the device has it."""
    supported = device.kind != "npu" or torch.npu.is_bf16_supported()  # type: ignore[attr-defined]
    return "bfloat16" if supported else "float16"


def equal_maxima(device: Device) -> Literal["first", "last", "other"]:
    """Which of several equal largest entries the device's argmax answers with.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    scores = torch.zeros(CLASSES)
    first, last = CLASSES // 4, CLASSES // 2
    scores[[first, last]] = 1.0
    with runtime_errors(device, "choosing the largest of equals"):
        chosen = int(scores.to(device.torch_device).argmax().cpu())
    return "first" if chosen == first else "last" if chosen == last else "other"


def explanation(figures: Sequence[OperatorFigures]) -> list[str]:
    """What departs among single operators, as one sentence for a layer that failed; nothing where none does.

    The product with HF32 allowed is none that a model computes, and explains nothing.
    """
    wrong = [row for row in figures if row.departs and row.name != PRODUCT_IN_HF32.name]
    names = [_("{operator} in {dtype}", operator=row.name, dtype=row.dtype) for row in wrong]
    return [_("operators of this device that depart by themselves: {names}", names=names)] if names else []


def _measure(operator: Operator, device: Device, dtype: str, seed: int, limit: float | None = None) -> OperatorFigures:
    generator = torch.Generator().manual_seed(seed)
    inputs = tuple(_rounded(tensor, dtype) for tensor in operator.inputs(generator))
    with runtime_errors(device, f"computing {operator.name}"), torch.inference_mode():
        output = operator.compute(*(tensor.to(device.torch_device) for tensor in inputs))
        actual = as_array(output)
        expected = as_array(operator.compute(*(_widened(tensor) for tensor in inputs)))
    limit = floor("npu", "isolated", dtype) if limit is None else limit
    error = worst_element(actual, expected) if np.isfinite(actual).all() else None
    return OperatorFigures(
        name=operator.name, dtype=dtype, error=error, limit=limit, departs=error is None or not error <= limit
    )


def _rounded(tensor: Tensor, dtype: str) -> Tensor:
    return tensor.to(torch_dtype(dtype)) if tensor.is_floating_point() else tensor


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _hf32(device: Device, seed: int) -> OperatorFigures:
    """The float32 product once more with HF32 allowed, as the model's never are (model/components.py)."""
    with _matmul_in_hf32():
        return _measure(PRODUCT_IN_HF32, device, "float32", seed, HF32_LIMIT)


@contextlib.contextmanager
def _matmul_in_hf32() -> Iterator[None]:
    switch = torch.npu.matmul  # type: ignore[attr-defined]
    before = switch.allow_hf32
    switch.allow_hf32 = True
    try:
        yield
    finally:
        switch.allow_hf32 = before


def _line(low: float, high: float) -> Callable[[torch.Generator], Inputs]:
    return lambda _generator: (torch.linspace(low, high, POINTS),)


def _normal(*shapes: tuple[int, ...]) -> Callable[[torch.Generator], Inputs]:
    return lambda generator: tuple(torch.randn(shape, generator=generator) for shape in shapes)


def _angles(_generator: torch.Generator) -> Inputs:
    """What rotary embedding takes cosine and sine of, from the first position to the last, fast to slow."""
    half = HEAD_SIZES["published"] // 2
    frequencies = ROPE_BASE ** -(torch.arange(half, dtype=torch.float32) / half)
    positions = torch.linspace(0, LAST_POSITION, POINTS // half).round()
    return (positions[:, None] * frequencies,)


def _scatter(generator: torch.Generator) -> Inputs:
    """Embeddings, a mask as wide as they are, and the audio that fills it."""
    embeddings = torch.randn(ROWS, CLASSES, generator=generator)
    mask = (torch.arange(ROWS) % 3 == 0)[:, None].expand(ROWS, CLASSES).contiguous()
    return embeddings, mask, torch.randn(int(mask[:, 0].sum()), CLASSES, generator=generator)


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


def _depthwise(frames: Tensor, weight: Tensor) -> Tensor:
    return functional.conv1d(frames, weight, padding=KERNEL // 2, groups=weight.shape[0])


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value)


def _attend_causally(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def _attend_masked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """With keys that are padding, as in a batch of recordings of several lengths: the last eighth."""
    mask = torch.arange(ROWS, device=query.device) < ROWS - ROWS // 8
    return functional.scaled_dot_product_attention(query, key, value, mask.expand(1, 1, ROWS, ROWS))


def _attend_biased(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """As the conformer does, blocks apart and with scores of relative positions added."""
    return functional.scaled_dot_product_attention(query, key, value, bias)


def _attention() -> Iterator[Operator]:
    for size in HEAD_SIZES.values():
        inputs = _normal(*[(1, 4, ROWS, size)] * 3)
        yield Operator(f"attention, heads of {size}", _attend, inputs)
        yield Operator(f"attention, heads of {size}, causal", _attend_causally, inputs)
        yield Operator(f"attention, heads of {size}, masked", _attend_masked, inputs)
    blocks = (1, 2, 4, ROWS)
    yield Operator(
        f"attention, heads of {CONFORMER_HEAD}, biased",
        _attend_biased,
        _normal(*[(*blocks, CONFORMER_HEAD)] * 3, (*blocks, ROWS)),
    )


PRODUCT = Operator("matmul", torch.matmul, _normal((MATRIX, MATRIX), (MATRIX, MATRIX)))
PRODUCT_IN_HF32 = replace(PRODUCT, name="matmul, HF32 allowed")
OPERATORS = (
    Operator("gelu", functional.gelu, _line(-6, 6)),
    Operator("exp", torch.exp, _line(-8, 4)),
    Operator("tanh", torch.tanh, _line(-6, 6)),
    Operator("sigmoid", torch.sigmoid, _line(-12, 12)),
    Operator("rsqrt", torch.rsqrt, _line(1e-3, 16)),
    Operator("softmax", _softmax, _normal((ROWS, CLASSES))),
    Operator("cos", torch.cos, _angles, ("float32",)),  # in float32 in a model of any dtype
    Operator("sin", torch.sin, _angles, ("float32",)),
    Operator("convolution, depthwise", _depthwise, _normal((2, ROWS, ROWS), (ROWS, 1, KERNEL))),
    PRODUCT,
    *_attention(),
    Operator("masked_scatter", torch.masked_scatter, _scatter),
)
