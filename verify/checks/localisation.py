"""Level 2: which layer is wrong? Every layer, every weight and every token against a wider CPU reference."""

from __future__ import annotations

from typing import Any

from verify import layers as layerwise
from verify import tokens as tokenwise
from verify import weights as weightwise
from verify.context import Context
from verify.records import Outcome, Status
from verify.subject import signature, the_expected, the_inputs, the_model, the_small


def weights(context: Context) -> Outcome:
    """What the device holds is what the checkpoint's files hold, bit for bit."""
    data = weightwise.measure(the_model(context))
    wrong = [f"{row['name']} {row['what']}" for row in data["differing"]]
    wrong += [f"{name} is on the device and not in the checkpoint" for name in data["not_in_checkpoint"]]
    if wrong:
        count = data["differing_count"] + len(data["not_in_checkpoint"])
        return Outcome(Status.FAIL, _listed(wrong, count), data, signature(context))
    return Outcome(Status.PASS, f"{data['tensors']} tensors, the same bits", data, signature(context))


def layers(context: Context) -> Outcome:
    """Every layer is within the band of its dtype, fed the reference's input and end to end."""
    data = layerwise.measure(the_model(context), the_inputs(context), the_expected(context))
    return _judged(context, data, layerwise.problems(data))


def sharp(context: Context) -> Outcome:
    """The same in float32 on the small checkpoint: there no rounding hides a fault of one layer."""
    small = the_small(context)
    data = layerwise.measure(the_model(small), the_inputs(small), the_expected(small))
    data["hf32"] = _hf32(small)
    return _judged(small, data, layerwise.problems(data))


def tokens(context: Context) -> Outcome:
    """Greedy tokens are the reference's, up to a tie; so is every choice along the reference's tokens."""
    data = tokenwise.measure(the_model(context), the_inputs(context), the_expected(context))
    problems = tokenwise.problems(data)
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, signature(context))
    same = min(row["same"] for row in data["free"])
    reason = f"{same} of {data['tokens']} tokens the same" + (", then a tie" if same < data["tokens"] else "")
    return Outcome(Status.PASS, reason, data, signature(context))


def _hf32(context: Context) -> dict[str, Any] | None:
    """On an NPU, whether convolutions and matrix products may be done in HF32; None elsewhere."""
    if the_model(context).device.kind != "npu":
        return None
    import torch

    return {"conv": torch.npu.conv.allow_hf32, "matmul": torch.npu.matmul.allow_hf32}  # type: ignore[attr-defined]


def _judged(context: Context, data: dict[str, Any], problems: list[str]) -> Outcome:
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, signature(context))
    closest = data["isolated"]["closest"][0]
    reason = (
        f"{data['isolated']['points']} points within their bands, {closest['name']} at {closest['excess']:.0%} of its"
    )
    return Outcome(Status.PASS, reason, data, signature(context))


def _listed(texts: list[str], count: int, shown: int = 3) -> str:
    return "; ".join(texts[:shown]) + (f"; and {count - shown} more" if count > shown else "")
