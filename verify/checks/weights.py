"""The parameters that the device holds, brought back and compared bit for bit with the checkpoint's files.

A tensor that was damaged, scaled, exchanged or left out on its way through memory and bus is named. Tensors are read
and compared one at a time, which takes the memory of the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model.components import Loaded
from model.device import runtime_errors
from model.stored_tensors import StoredTensors
from verify.reference.numerics import as_bytes, same_bits
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

if TYPE_CHECKING:
    import torch


LISTED = 20  # differing tensors that are written out; the rest are counted
TIED = {"language_model.lm_head.weight": "language_model.model.embed_tokens.weight"}


def measure(loaded: Loaded) -> dict[str, Any]:
    """{"tensors", "values", "differing": [{"name", "what", "values"}], "differing_count", "not_in_checkpoint"}.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    stored = StoredTensors(loaded.checkpoint, loaded.torch_dtype)
    held = loaded.model.state_dict()
    differing: list[dict[str, Any]] = []
    tensors = values = 0
    for name, wanted in stored.items():
        tensors, values = tensors + 1, values + wanted.numel()
        if name not in held:
            differing.append({"name": name, "what": "is not on the device", "values": wanted.numel()})
            continue
        with runtime_errors(loaded.device, f"reading {name} back"):
            found = held[name].detach().cpu()
        if not same_bits(found, wanted):
            differing.append({"name": name, **_difference(found, wanted, stored)})
    return {
        "tensors": tensors,
        "values": values,
        "differing": differing[:LISTED],
        "differing_count": len(differing),
        "not_in_checkpoint": sorted(name for name in set(held) - set(stored) if TIED.get(name) not in held),
    }


def _difference(found: torch.Tensor, wanted: torch.Tensor, stored: StoredTensors) -> dict[str, Any]:
    """What became of a tensor, in the words of what usually happens to one, and how many values differ."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return {"what": f"is {_sort(found)}, {_sort(wanted)} expected", "values": wanted.numel()}
    size = wanted.element_size()
    unequal = (as_bytes(found).view(-1, size) != as_bytes(wanted).view(-1, size)).any(dim=1)
    count = int(unequal.sum())
    ours, theirs = found.double().reshape(-1)[unequal], wanted.double().reshape(-1)[unequal]
    other = _holding(stored, found)
    first = int(unequal.int().argmax())
    if other is not None:
        what = f"holds {other}"
    elif count == 1:
        what = f"has one wrong value: {float(ours[0]):.4g} for {float(theirs[0]):.4g}, {_bits(found, wanted, first)}"
    elif not found.any():
        what = "is zero"
    else:
        ratio = float((ours * theirs).sum() / theirs.square().sum()) if theirs.any() else float("nan")
        scaled = bool(((ours - ratio * theirs).abs() <= 0.01 * (ratio * theirs).abs()).all())
        what = f"is scaled by {ratio:.4g}" if scaled else f"differs in {count:,} of {wanted.numel():,} values"
    return {"what": what, "values": count}


def _holding(stored: StoredTensors, tensor: torch.Tensor) -> str | None:
    """The name of a stored tensor that is `tensor`, bit for bit."""
    candidates = (name for name, shape in stored.shapes.items() if shape == tuple(tensor.shape))
    return next((name for name in candidates if same_bits(tensor, stored[name])), None)


def _sort(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _bits(found: torch.Tensor, wanted: torch.Tensor, index: int) -> str:
    """Which bits of one value are flipped, from 0 for the lowest."""
    size = found.element_size()
    mine, theirs = (as_bytes(t).view(-1, size)[index].numpy().tobytes() for t in (found, wanted))
    flipped = int.from_bytes(mine, "little") ^ int.from_bytes(theirs, "little")
    places = [str(bit) for bit in range(8 * size) if flipped >> bit & 1]
    return f"bit {', '.join(places)} flipped"


def check(session: Verification) -> Outcome:
    """What the device holds is what the checkpoint's files hold, bit for bit."""
    data = measure(session.model)
    wrong = [f"{row['name']} {row['what']}" for row in data["differing"]]
    wrong += [f"{name} is on the device and not in the checkpoint" for name in data["not_in_checkpoint"]]
    if wrong:
        count = data["differing_count"] + len(data["not_in_checkpoint"])
        return Outcome(Status.FAIL, _listed(wrong, count), data, session.signature())
    return Outcome(Status.PASS, f"{data['tensors']} tensors, the same bits", data, session.signature())


def _listed(texts: list[str], count: int, shown: int = 3) -> str:
    return "; ".join(texts[:shown]) + (f"; and {count - shown} more" if count > shown else "")
