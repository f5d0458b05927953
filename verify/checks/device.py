"""Level 1: does the asked device answer and multiply right?"""

from __future__ import annotations

from model.device import emulated, runtime_errors, versions
from verify.reference import numerics
from verify.reference.numerics import as_array
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

OPERATION_SIZE = 64


def check(session: Verification) -> Outcome:
    """The device answers, and one matrix product on it is right.

    The product of two matrices of small whole numbers is exact in every dtype that has 8 bits of mantissa and a
    float32 accumulator, so any difference at all is a fault.
    """
    import torch

    found = session.device
    generator = torch.Generator().manual_seed(session.seed)
    size = (OPERATION_SIZE, OPERATION_SIZE)
    left = torch.randint(-1, 2, size, generator=generator).float()
    right = torch.randint(-1, 2, size, generator=generator).float()
    with runtime_errors(found, "multiplying two matrices"):
        product = left.to(found.torch_device) @ right.to(found.torch_device)
        found.synchronize()
        comparison = numerics.compare(as_array(product), as_array(left.double() @ right.double()))
    data = {
        "asked": session.context.device,
        "kind": found.kind,
        "index": found.index,
        "label": found.label,
        "name": found.name,
        "total_memory_bytes": found.total_memory_bytes,
        "emulated": emulated(),
        "versions": versions(),
        "op": {"name": "matmul", "size": OPERATION_SIZE, "max_abs": comparison.as_json()["max_abs"]},
    }
    if not comparison.identical:
        return Outcome(Status.FAIL, f"a product of whole numbers on {found.label} is off by {comparison.max_abs}", data)
    return Outcome(Status.PASS, f"{found.label}, {found.name}", data)
