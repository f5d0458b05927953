"""These tests mean something on the emulated device only: elsewhere none of them is collected."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

if os.environ.get("NPU_EMU") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def interceptors() -> Iterator[list[Any]]:
    """The emulated kernels' interceptors, empty again after the test."""
    import torch_npu  # noqa: F401
    from bundle.env.npu_emulator import kernels  # type: ignore[import-not-found]

    yield kernels.interceptors
    kernels.interceptors.clear()
