"""Level 2: every layer in float32 on the bundled small checkpoint, where no rounding hides a fault of one layer."""

from __future__ import annotations

import torch
from msgspec import structs

from verify.checks.layers import judged, measure
from verify.run.figures.layers import SharpFigures
from verify.run.records import Outcome, skipped
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """The same in float32 on the small checkpoint: there no rounding hides a fault of one layer."""
    if reason := session.device.refusal("float32"):
        return skipped(reason)
    bundled = session.bundled
    layers = measure(bundled.model, bundled.inputs, bundled.reference)
    return judged(bundled, SharpFigures(**structs.asdict(layers), hf32=_hf32(bundled)))


def _hf32(session: Verification) -> dict[str, bool] | None:
    """On an NPU, whether convolutions and matrix products may be done in HF32; None elsewhere."""
    if session.model.device.kind != "npu":
        return None
    return {"conv": torch.npu.conv.allow_hf32, "matmul": torch.npu.matmul.allow_hf32}  # type: ignore[attr-defined]
