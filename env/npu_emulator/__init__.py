"""An NPU without one: the real torch-npu wheel over a stand-in CANN runtime that computes on the host."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

TOOLS = Path(__file__).resolve().parent / "tools"  # on the PATH of a program that runs on the emulated NPU
VARIABLE = "NPU_EMU"  # "1" in every process that runs on the emulated NPU
SYMBOL = "npu_emulator_version"  # exported by the stand-in libascendcl.so, by no other


def active() -> bool:
    """Whether this process runs on the emulated NPU, by its environment or by the runtime's own symbol."""
    if os.environ.get(VARIABLE):
        return True
    try:
        return hasattr(ctypes.CDLL(None), SYMBOL)
    except OSError:
        return False


def off_the_path(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without the emulated NPU's tools: what looks at the host must not take them for its driver's."""
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder != str(TOOLS)]
    return {**environ, "PATH": os.pathsep.join(folders)}
