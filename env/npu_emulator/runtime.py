"""What turns one process into an emulated one, before and after it imports torch_npu."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from .guard import real_npu
from .library import HOME, runtime_library

_alive: list[object] = []  # kernels leave the dispatcher with the objects that registered them


def open_libraries() -> None:
    """Load the stand-in CANN libraries, so that torch_npu's own links find them already there.

    Raises:
        ImportError: this machine has a real NPU or CANN: emulating one beside it could pass for it.
    """
    reason = real_npu()
    if reason:
        raise ImportError(f"the emulated NPU does not start here: {reason}")
    runtime_library()  # first: the others link it
    for library in sorted((Path(os.environ[HOME]) / "lib").glob("*.so")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def install_kernels() -> None:
    """Replace torch-npu's kernels by those that run on host memory."""
    from . import kernels

    _alive.extend(kernels.install())
