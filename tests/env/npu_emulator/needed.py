"""The mark of tests that run on the emulated NPU: where it cannot run they are skipped, and say why."""

from __future__ import annotations

import pytest

from env.npu_emulator.build import unavailable

_reason = unavailable()
needs_emulator = pytest.mark.skipif(_reason is not None, reason=_reason or "")
