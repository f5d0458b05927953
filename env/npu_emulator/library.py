"""The stand-in runtime of a built emulator, as the process that runs on it opens it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from .guard import RUNTIME

HOME = "NPU_EMU_HOME"  # the folder of a built emulator


def runtime_library() -> ctypes.CDLL:
    """The stand-in libascendcl.so of this process, with the control functions of acl.c."""
    return ctypes.CDLL(str(Path(os.environ[HOME]) / "lib" / RUNTIME), mode=ctypes.RTLD_GLOBAL)
