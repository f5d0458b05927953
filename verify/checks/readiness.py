"""Level 1 for the model: does the checkpoint hold together, and does the device compute at all?"""

from __future__ import annotations

from env.errors import CheckpointError
from model import device as devices
from model import stand_in
from model.checkpoint import Checkpoint
from model.sums import SUMS_FILE
from verify import numerics
from verify.context import Context
from verify.parity import as_array
from verify.records import Outcome, Status
from verify.subject import the_checkpoint, the_device, the_digest, the_listed

OPERATION_SIZE = 64


def checkpoint(context: Context) -> Outcome:
    """The folder's config.json and safetensors headers, and its files against SHA256SUMS; nothing is loaded."""
    found = the_checkpoint(context)
    data = {**found.describe(), "sha256": the_digest(context)}
    marked = "synthetic weights, " if found.kind == "stand-in" else ""
    try:
        status, said = _vouched(found, the_listed(context))
    except CheckpointError as error:  # a finding about a folder that can be loaded: its figures are kept beside it
        return Outcome(Status.FAIL, str(error), {**data, "sums": {"status": "differ"}})
    data["sums"] = {"status": status}
    reason = f"{marked}{found.parameters:,} parameters, {len(found.entries)} tensors; {said}"
    return Outcome(Status.PASS, reason, data)


def _vouched(found: Checkpoint, listed: tuple[str, ...] | None) -> tuple[str, str]:
    """Who says that the values are the right ones: a word for the record, and the same as a sentence."""
    if listed is not None:
        return "match", f"{len(listed)} files as {SUMS_FILE} lists them"
    if found.kind == "stand-in" and stand_in.is_stand_in(found.name):
        return "made-here", "made here from a seed"
    return "none", f"no {SUMS_FILE} beside the weights: nothing says whose they are"


def device(context: Context) -> Outcome:
    """The device answers, and one matrix product on it is right.

    The product of two matrices of small whole numbers is exact in every dtype that has 8 bits of mantissa and a
    float32 accumulator, so any difference at all is a fault.
    """
    import torch

    found = the_device(context)
    generator = torch.Generator().manual_seed(context.seed)
    size = (OPERATION_SIZE, OPERATION_SIZE)
    left = torch.randint(-1, 2, size, generator=generator).float()
    right = torch.randint(-1, 2, size, generator=generator).float()
    with devices.failures(found, "multiplying two matrices"):
        product = left.to(found.torch_device) @ right.to(found.torch_device)
        found.synchronize()
        comparison = numerics.compare(as_array(product), as_array(left.double() @ right.double()))
    data = {
        "asked": context.device,
        "kind": found.kind,
        "index": found.index,
        "label": found.label,
        "name": found.name,
        "total_memory_bytes": found.total_memory_bytes,
        "emulated": devices.emulated(),
        "versions": devices.versions(),
        "op": {"name": "matmul", "size": OPERATION_SIZE, "max_abs": comparison.as_json()["max_abs"]},
    }
    if not comparison.identical:
        return Outcome(Status.FAIL, f"a product of whole numbers on {found.label} is off by {comparison.max_abs}", data)
    return Outcome(Status.PASS, f"{found.label}, {found.name}", data)
