"""Level 1: does the device of the run answer and multiply right?"""

from __future__ import annotations

import torch

from env.language import _
from model.device import emulated, runtime_errors, versions
from verify.reference.numerics import as_array, compare
from verify.run.figures.host import DeviceFigures, OperationFigures
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

OPERATION_SIZE = 64


def check(session: Verification) -> Outcome:
    """The device answers, and one matrix product on it is right.

    The product of two matrices of small whole numbers is exact in every dtype that has 8 bits of mantissa and a
    float32 accumulator, so any difference at all is a fault.
    """
    device = session.device
    generator = torch.Generator().manual_seed(session.seed)
    size = (OPERATION_SIZE, OPERATION_SIZE)
    left = torch.randint(-1, 2, size, generator=generator).float()
    right = torch.randint(-1, 2, size, generator=generator).float()
    with runtime_errors(device, "multiplying two matrices"):
        product = left.to(device.torch_device) @ right.to(device.torch_device)
        device.synchronize()
        comparison = compare(as_array(product), as_array(left.double() @ right.double()))
    figures = DeviceFigures(
        asked=session.context.device,
        kind=device.kind,
        index=device.index,
        label=device.label,
        name=device.name,
        total_memory_bytes=device.total_memory_bytes,
        emulated=emulated(),
        versions=versions(),
        op=OperationFigures(name="matmul", size=OPERATION_SIZE, max_abs=comparison.figures.max_abs),
    )
    if not comparison.identical:
        problem = _(
            "a product of whole numbers on {device} is off by {difference}",
            device=device.label,
            difference=comparison.max_abs,
        )
        return failed([problem], figures)
    return passed(_("{device}, {name}", device=device.label, name=device.name), figures)
