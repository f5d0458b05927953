"""The parameters that the device holds, brought back and compared bit for bit with the checkpoint's files.

A tensor that was damaged, scaled, exchanged or left out on its way through memory and bus is named. Tensors are read
and compared one at a time, which takes the memory of the largest.
"""

from __future__ import annotations

import torch

from env.language import Message, _
from model import device_map, layout
from model.components import Loaded
from model.device import runtime_errors
from model.stored_tensors import StoredTensors
from verify.reference.numerics import as_bytes, same_bits
from verify.run.figures.weights import TensorFigures, WeightsFigures
from verify.run.judgement import of_weights
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

LISTED = 20  # differing tensors that are written out; the rest are counted
TIED = {"language_model.lm_head.weight": "language_model.model.embed_tokens.weight"}


def measure(loaded: Loaded) -> WeightsFigures:
    """Every tensor of the checkpoint's files against what the device holds under its name.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    stored = StoredTensors(loaded.checkpoint, loaded.torch_dtype)
    state = {
        layout.stored_name(loaded.model, name): value for name, value in device_map.state_dict(loaded.model).items()
    }
    differing: list[TensorFigures] = []
    tensors = values = 0
    for name, expected in stored.items():
        tensors, values = tensors + 1, values + expected.numel()
        if name not in state:
            what = _("is not on the device")
            differing.append(TensorFigures(name=name, what=what, values=expected.numel()))
            continue
        with runtime_errors(loaded.device, f"reading {name} back"):
            actual = state[name].detach().cpu()
        if not same_bits(actual, expected):
            what, count = _difference(actual, expected, stored)
            differing.append(TensorFigures(name=name, what=what, values=count))
    return WeightsFigures(
        tensors=tensors,
        values=values,
        differing=differing[:LISTED],
        differing_count=len(differing),
        not_in_checkpoint=sorted(name for name in set(state) - set(stored) if TIED.get(name) not in state),
    )


def _difference(actual: torch.Tensor, expected: torch.Tensor, stored: StoredTensors) -> tuple[Message, int]:
    """What became of a tensor, in the words of what usually happens to one, and how many values differ."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        what = _("is {kind}, {expected} expected", kind=_kind(actual), expected=_kind(expected))
        return what, expected.numel()
    size = expected.element_size()
    unequal = (as_bytes(actual).view(-1, size) != as_bytes(expected).view(-1, size)).any(dim=1)
    count = int(unequal.sum())
    ours, theirs = actual.double().reshape(-1)[unequal], expected.double().reshape(-1)[unequal]
    other = _holding(stored, actual)
    if other is not None:
        return _("holds {tensor}", tensor=other), count
    if count == 1:
        what = _(
            "has one wrong value: {value:.4g} for {expected:.4g}, bit {bits} flipped",
            value=float(ours[0]),
            expected=float(theirs[0]),
            bits=_flipped(actual, expected, int(unequal.int().argmax())),
        )
        return what, count
    if not actual.any():
        return _("is zero"), count
    ratio = float((ours * theirs).sum() / theirs.square().sum()) if theirs.any() else float("nan")
    if bool(((ours - ratio * theirs).abs() <= 0.01 * (ratio * theirs).abs()).all()):
        return _("is scaled by {factor:.4g}", factor=ratio), count
    return _("differs in {count:,} of {all:,} values", count=count, all=expected.numel()), count


def _holding(stored: StoredTensors, tensor: torch.Tensor) -> str | None:
    """The name of a stored tensor that is `tensor`, bit for bit."""
    candidates = (name for name, shape in stored.shapes.items() if shape == tuple(tensor.shape))
    return next((name for name in candidates if same_bits(tensor, stored[name])), None)


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _flipped(actual: torch.Tensor, expected: torch.Tensor, index: int) -> str:
    """The bits of one value that are flipped, from 0 for the lowest: "31", "3, 7"."""
    size = actual.element_size()
    one, other = (as_bytes(t).view(-1, size)[index].numpy().tobytes() for t in (actual, expected))
    flipped = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return ", ".join(str(bit) for bit in range(8 * size) if flipped >> bit & 1)


def check(session: Verification) -> Outcome:
    """What the device holds is what the checkpoint's files hold, bit for bit."""
    figures = measure(session.model)
    if wrong := of_weights(figures):
        return failed(wrong, figures, session.signature())
    return passed(_("{count} tensors, the same bits", count=figures.tensors), figures, session.signature())
