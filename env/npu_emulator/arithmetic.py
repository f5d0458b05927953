"""How the emulated chip computes where it differs from the CPU that computes for it, by the vendor's own sources
(chips.toml): HF32 and float16 inside products, no bfloat16, saturation, GELU by tanh, the last of equal maxima.

Imported with kernels.py, in the emulated program.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import torch
import torch_npu
from torch.utils._pytree import tree_map_only

Kernel = Callable[..., Any]

# What the cube unit computes: matrix products and convolutions, whatever else their names end in.
PRODUCTS = frozenset(
    {"mm", "bmm", "addmm", "addmm_", "baddbmm", "baddbmm_", "addbmm", "addbmm_", "addmv", "addmv_", "mv", "dot", "vdot",
     "matmul", "npu_linear", "npu_bmmV2"}
)  # fmt: skip
CONVOLUTIONS = frozenset({"convolution", "convolution_overrideable", "_convolution", "npu_conv2d", "npu_convolution"})
# They move numbers or make them, and compute none: what they are handed comes out.
MOVING = frozenset(
    {"copy_", "_copy_from", "fill_", "full", "full_like", "zero_", "zeros", "ones", "cat", "stack", "index", "where",
     "masked_fill", "masked_fill_", "masked_scatter", "masked_scatter_", "constant_pad_nd", "clone", "flip", "roll",
     "repeat", "gather", "index_select", "embedding", "scatter", "scatter_", "index_put", "index_put_",
     "_index_put_impl_", "index_copy", "index_copy_", "arange", "uniform_", "normal_", "isfinite", "isnan", "isinf"}
)  # fmt: skip
HF32_DROPPED = 12  # of float32's 23 bits of mantissa HF32 keeps 11


@dataclass(frozen=True)
class Traits:
    """What of a chip shows in numbers."""

    bfloat16: bool
    products: str  # what a float32 product is computed in
    saturates: bool
    hf32: bool  # whether the chip has it at all

    @classmethod
    def of_process(cls) -> Traits:
        """Those that chips.py put into the environment; of an Atlas A2 where nothing says otherwise."""

        def flag(name: str, default: str) -> bool:
            return os.environ.get(f"NPU_EMU_{name}", default) == "1"

        return cls(
            bfloat16=flag("BFLOAT16", "1"),
            products=os.environ.get("NPU_EMU_PRODUCTS", "float32"),
            saturates=flag("SATURATES", "0"),
            hf32=flag("HF32", "1"),
        )


TRAITS = Traits.of_process()
overflowed = False  # the float status of a chip that saturates: an operator gave an infinity or NaN


def as_the_chip(name: str, op: Any) -> Kernel:
    """The aten op `name`, overload and all, as the chip computes it."""
    base = name.partition(".")[0]
    own = OWN.get(base)
    compute: Kernel = op if own is None else own(op)
    if base in CONVOLUTIONS and TRAITS.hf32:
        compute = _in_hf32(compute, lambda: bool(torch_npu.npu.conv.allow_hf32))
    if base in PRODUCTS and TRAITS.hf32:
        compute = _in_hf32(compute, lambda: bool(torch_npu.npu.matmul.allow_hf32))
    if base in PRODUCTS | CONVOLUTIONS and TRAITS.products == "float16":
        compute = _in_float16(compute)
    if TRAITS.saturates and base not in MOVING:
        compute = _saturating(compute)
    return compute if TRAITS.bfloat16 else _without_bfloat16(base, compute)


@functools.cache
def _compatible_implementations() -> bool:
    """Whether torch-npu was asked for torch's own definitions before its first gelu: later is too late, as there.

    op-plugin's GeluKernelNpuOpApi.cpp keeps the answer in a C++ static. Releases before 2.9.0.post1 have no switch.
    """
    enabled = getattr(torch_npu.npu, "are_compatible_impl_enabled", None)
    return bool(enabled is not None and enabled())


def _gelu(op: Any) -> Kernel:
    """The tanh form, whatever `approximate` says: that is aclnnGelu's (CANN ops-nn, activation/gelu/docs/aclnnGelu.md).

    torch-npu hands `approximate` on to aclnnGeluV2 only, which the compatible implementation takes.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        return op(*args, **kwargs if _compatible_implementations() else {**kwargs, "approximate": "tanh"})

    return run


def _argmax(op: Any) -> Kernel:
    """The last of equal maxima. The vendor's documents promise none of them (ops-math, aclnnArgMax.md), and the CPU
    takes the first: what relies on that shows here.
    """

    def run(tensor: torch.Tensor, dim: int | None = None, keepdim: bool = False, **kwargs: Any) -> Any:
        flat = tensor.reshape(-1) if dim is None else tensor
        axis = 0 if dim is None else dim
        last = flat.shape[axis] - 1
        return op(flat.flip(axis), axis, keepdim and dim is not None, **kwargs).neg_().add_(last)

    return run


OWN: dict[str, Callable[[Any], Kernel]] = {"gelu": _gelu, "gelu_": _gelu, "argmax": _argmax}


def hf32(tensor: torch.Tensor) -> torch.Tensor:
    """float32 numbers rounded to HF32's 11 bits of mantissa, ties to even; of any other dtype as they are."""
    if tensor.dtype != torch.float32:
        return tensor
    bits = tensor.contiguous().view(torch.int32)
    half = (1 << (HF32_DROPPED - 1)) - 1 + (bits >> HF32_DROPPED & 1)
    rounded = ((bits + half) >> HF32_DROPPED << HF32_DROPPED).view(torch.float32)
    return torch.where(tensor.isfinite(), rounded, tensor).as_strided(tensor.shape, rounded.stride())


def _in_hf32(compute: Kernel, allowed: Callable[[], bool]) -> Kernel:
    def run(*args: Any, **kwargs: Any) -> Any:
        return compute(*(tree_map_only(torch.Tensor, hf32, args) if allowed() else args), **kwargs)

    return run


def _in_float16(compute: Kernel) -> Kernel:
    """float32 factors rounded to float16 and multiplied with a float32 accumulator; too large ones saturate.

    Whether the sum is rounded to float16 as well the vendor's documents do not say; here it is not.
    """

    def rounded(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        largest = torch.finfo(torch.float16).max
        return tensor.clamp(-largest, largest).half().float()

    def run(*args: Any, **kwargs: Any) -> Any:
        return compute(*tree_map_only(torch.Tensor, rounded, args), **kwargs)

    return run


def _infinite(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.isfinite().all())


def _saturating(compute: Kernel) -> Kernel:
    def largest(tensor: torch.Tensor) -> None:
        global overflowed
        if _infinite(tensor):
            overflowed = True
            tensor.nan_to_num_(nan=0.0)

    def run(*args: Any, **kwargs: Any) -> Any:
        result = compute(*args, **kwargs)
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                largest(tensor)
        return result

    return run


def _without_bfloat16(base: str, compute: Kernel) -> Kernel:
    """The error of a chip without bfloat16, as LlamaFactory#7522 has it from an Ascend310P3."""

    def refuse(tensor: torch.Tensor) -> None:
        if tensor.dtype == torch.bfloat16:
            now = datetime.now().strftime("%Y-%m-%d-%H:%M:%S.%f")
            raise RuntimeError(
                f"call aclnn{base.strip('_').title()} failed, detail:EZ1001: [PID: {os.getpid()}] {now} self not "
                "implemented for DT_BFLOAT16, should be in dtype support list [DT_FLOAT16,DT_FLOAT,DT_DOUBLE,DT_INT8,"
                "DT_UINT8,DT_INT16,DT_INT32,DT_INT64,DT_BOOL,DT_COMPLEX64,DT_COMPLEX128,].\n\n"
                f"[ERROR] {now[:19]} (PID:{os.getpid()}, Device:0, RankID:-1) ERR01100 OPS call acl api failed"
            )

    def run(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            for tensor in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(tensor, torch.Tensor):
                    refuse(tensor)
        result = compute(*args, **kwargs)
        if isinstance(result, torch.Tensor):
            refuse(result)
        return result

    return run
