"""Level 2: every layer in float32 on the bundled small checkpoint, where no rounding hides a fault of one layer."""

from __future__ import annotations

from typing import Any

from verify.checks.layers import judged, measure
from verify.run.records import Outcome
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """The same in float32 on the small checkpoint: there no rounding hides a fault of one layer."""
    small = session.bundled
    data = measure(small.model, small.inputs, small.reference)
    data["hf32"] = _hf32(small)
    return judged(small, data)


def _hf32(session: Verification) -> dict[str, Any] | None:
    """On an NPU, whether convolutions and matrix products may be done in HF32; None elsewhere."""
    if session.model.device.kind != "npu":
        return None
    import torch

    return {"conv": torch.npu.conv.allow_hf32, "matmul": torch.npu.matmul.allow_hf32}  # type: ignore[attr-defined]
