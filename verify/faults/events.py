"""Faults that are no wrong number: a slow, hanging, lost or failing device, as the program meets it.

On the emulated NPU the errors are raised by torch-npu itself, from what the stand-in runtime returns; on the CPU by
torch's own allocator, or in this module's name.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .spec import AI_CORE_EXCEPTION, LOST_HEARTBEAT, Fault

MORE_THAN_ANY = 1 << 50  # bytes: a petabyte, which no allocator grants
HANG = -1  # the stand-in runtime's code for a call that never returns


def happen(fault: Fault) -> None:
    """Let the event happen here and now. Returns from what shows later, or elsewhere."""
    if fault.kind == "slow":
        assert fault.size is not None
        time.sleep(fault.size)
    elif fault.kind == "hang":
        while True:
            time.sleep(3600)
    elif fault.kind == "segfault":
        ctypes.string_at(0)
    elif fault.kind == "oom":
        torch.empty(MORE_THAN_ANY, dtype=torch.uint8, device=fault.device)
    elif fault.device != "npu":
        raise RuntimeError(f"injected {fault.kind} on {fault.device}")
    elif fault.kind == "late_error":
        _kernels().queue.fail(fault.target.strip("*").partition(".")[0], fault.code or AI_CORE_EXCEPTION)
    elif fault.kind == "cpu_fallback":
        _fall_back(fault.target.strip("*"))
    elif fault.kind == "device_lost":
        runtime().npu_emulator_lose_device(fault.code or LOST_HEARTBEAT)
        _synchronize()
    else:
        # A kernel's error comes back with the next synchronisation, as it does from a real device.
        fail_call("aclrtSynchronizeDevice", 1, 1, fault.code or AI_CORE_EXCEPTION)
        fail_call("aclrtSynchronizeDeviceWithTimeout", 1, 1, fault.code or AI_CORE_EXCEPTION)
        _synchronize()


def _kernels() -> Any:
    return sys.modules["bundle.env.npu_emulator.kernels"]  # as sitecustomize.py imports them


@cache
def _fall_back(operator: str) -> None:
    """Say once, in torch-npu's words (VariableFallbackKernel.cpp), that an operator runs on the host."""
    print(
        f"[W VariableFallbackKernel.cpp:250] Warning: CAUTION: The operator 'aten::{operator}' is not currently "
        "supported on the NPU backend and will fall back to run on the CPU. This may have performance implications. "
        "(function npu_cpu_fallback)",
        file=sys.stderr,
        flush=True,
    )


def _synchronize() -> None:
    import torch_npu

    torch_npu.npu.synchronize()


def fail_call(call: str, nth: int, times: int, code: int) -> None:
    """Make the `nth` next call of an ACL function return `code`, or never return where it is HANG."""
    if runtime().npu_emulator_fault(call.encode(), ctypes.c_long(nth), ctypes.c_long(times), code) != 0:
        raise RuntimeError("too many faults in ACL calls")


def runtime() -> Any:
    """The stand-in libascendcl.so that this process runs on."""
    return ctypes.CDLL(str(Path(os.environ["NPU_EMU_HOME"]) / "lib" / "libascendcl.so"))
