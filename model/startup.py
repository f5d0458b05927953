"""How long the steps that a process makes once took it: imports, the device, its compiler. Seconds, by name."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

TORCH, TORCH_NPU = "torch", "torch_npu"
MODEL = "transformers.models.granite_speech.modeling_granite_speech"
SET_DEVICE = "set_device"  # of an NPU, or the context of a GPU
COMPILER = "compiler"  # CANN's, which float32 needs

seconds: dict[str, float] = {}


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Keep the time of the first of these bodies that comes to its end."""
    started = time.perf_counter()
    yield
    seconds.setdefault(name, time.perf_counter() - started)


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Keep the time of the body that brings a module into this process; of no other."""
    if module in sys.modules:
        yield
        return
    started = time.perf_counter()
    yield
    if module in sys.modules:
        seconds.setdefault(module, time.perf_counter() - started)
