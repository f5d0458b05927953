"""What is NPU about a device: what is set before its first operator, what its chip cannot do, what its errors mean.

Nothing here imports torch_npu: model/device.py has done so before it asks.
"""

from __future__ import annotations

import os
import re
from typing import Any

from env.chips import chip_of_soc
from env.language import _

# The chips that aclnnGeluV2 runs on, Atlas A2 and A3, as the runtime names them (CANN ops-nn, activation/gelu_v2).
WITH_GELU_V2 = re.compile(r"Ascend910(B\d|_9)")
# torch-npu's caching allocator refuses before anything is queued (NPUCachingAllocator.cpp:1264): the process goes on.
REFUSED_BY_THE_ALLOCATOR = "NPU out of memory. Tried to allocate"
# CANN's own words: error_code.json EL0004 (hicann/runtime), isCannOOM (NPUException.cpp), 207001 and 207018
# (NPUErrorCodes.h) of torch-npu v7.3.1.
CANN_OUT_OF_MEMORY = (
    r"EL0004|Failed to allocate memory|Failed to apply for memory|memory on the device is exhausted"
    r"|error code is 2070(?:01|18)\b"
)
# "error code is 507015", "ERR00100"; with TORCH_NPU_COMPACT_ERROR_OUTPUT=1 there is CANN's own code only, "EZ9999".
ERROR_CODE = re.compile(r"error code is (\d+)|ERR\d{5}|\bE[A-Z]\d{4}\b")
LATE = "The Inner error is reported as above"  # NPUQueue.cpp: an operator before this one failed
BLOCKING = "ASCEND_LAUNCH_BLOCKING=1"


def deterministic() -> None:
    """Ask CANN for the same bits in every run, which by default it does not promise: matrix products, addmm and batch
    norm may add up in another order each time ("Deterministic Computation" in CANN's operator library documents).

    Before the first operator, since only the first setting of a thread takes effect there. torch.empty stays empty.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def precompiled() -> None:
    """Take the operators that CANN ships compiled, on the chips where torch-npu compiles each anew for every shape: all
    before Atlas A2 (op-plugin, set_compile_mode). A first pass takes minutes with that, not seconds.
    """
    if not has_bfloat16():
        _api().set_compile_mode(jit_compile=False)


def compatible(name: str) -> None:
    """Ask torch-npu for torch's own definition of GELU, which it has since 2.9.0.post1; later ones switch more with it.

    Before the first GELU: the answer is kept from there on (op-plugin, GeluKernelNpuOpApi.cpp). What then is computed
    is measured (model/gelu.py).
    """
    switch = getattr(_api(), "use_compatible_impl", None)
    if switch is not None and WITH_GELU_V2.match(name):
        switch(True)


def compatible_switched() -> bool | None:
    """Whether torch-npu is to compute torch's own GELU; None where it has no switch for that."""
    enabled = getattr(_api(), "are_compatible_impl_enabled", None)
    return None if enabled is None else bool(enabled())


def has_bfloat16() -> bool:
    """Whether the chip computes in bfloat16: those before Atlas A2 do not (torch-npu, NpuVariables.cpp)."""
    answer = getattr(_api(), "is_bf16_supported", None)
    return answer is None or bool(answer())


def multiplies_in_float16(name: str) -> bool:
    """Whether the chip computes float32 matrix products in float16, whatever is asked (env/chips.toml)."""
    chip = chip_of_soc(name)
    return chip is not None and chip.float32 == "float16"


def refusal(name: str, dtype: str) -> str | None:
    """Why a chip cannot compute in a dtype, as a sentence; None where it can."""
    if dtype == "bfloat16" and not has_bfloat16():
        return _("{chip} has no bfloat16", chip=name)
    if dtype == "float32" and multiplies_in_float16(name):
        return _("{chip} multiplies float32 matrices in float16", chip=name)
    return None


def overflowed(*, clear: bool = False) -> bool | None:
    """Whether an operator overflowed since the flag was last cleared, on a chip that gives the largest number instead
    of infinity; None on one that gives infinity, and where the flag cannot be read.

    The vendor documents the flag for Atlas training products only (op-plugin, get_npu_overflow_flag).
    """
    utils = getattr(_api(), "utils", None)
    infinity = getattr(utils, "is_support_inf_nan", None)
    if infinity is None or infinity():
        return None
    try:
        if clear:
            _api().clear_npu_overflow_flag()
        return bool(_api().get_npu_overflow_flag())
    except RuntimeError:
        return None


def physical(index: int) -> dict[str, Any]:
    """Which card that is, whatever number it goes by here: ASCEND_RT_VISIBLE_DEVICES renumbers them.

    `cores` are AI cores and vector cores, `l2_bytes` the L2 cache, as the runtime tells; 0 is left out.
    """
    properties = _api().get_device_properties(index)
    uuid = str(getattr(properties, "uuid", "") or "")
    cores = [int(getattr(properties, f"{kind}_core_num", 0) or 0) for kind in ("cube", "vector")]
    return {
        "visible": os.environ.get("ASCEND_RT_VISIBLE_DEVICES"),
        "index": index,
        "uuid": uuid if uuid.strip("0-") else None,
        "cores": cores if any(cores) else None,
        "l2_bytes": int(getattr(properties, "L2_cache_size", 0) or 0) or None,
    }


def _api() -> Any:
    import torch

    return getattr(torch, "npu", None)
