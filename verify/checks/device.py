"""Level 1: does the device of the run answer and multiply right?"""

from __future__ import annotations

import math

import torch

from env.language import _
from model import gelu
from model.device import emulated, runtime_errors, versions
from verify.reference.numerics import as_array, compare
from verify.run.figures.host import DeviceFigures, GeluFigures, OperationFigures
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

OPERATION_SIZE = 64


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check(session: Verification) -> Outcome:
    """The device answers, one matrix product on it is right, and its GELU is the published one.

    The product of two matrices of small whole numbers is exact in every dtype that has 8 bits of mantissa and a
    float32 accumulator, so any difference at all is a fault. An NPU may have GELU by tanh alone: the reference then
    takes it as well, and the verdict says so.
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
    activation = gelu.of(device)
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
        gelu=GeluFigures(
            form=activation.form,
            erf_error=_finite(activation.erf_error),
            tanh_error=_finite(activation.tanh_error),
        ),
    )
    problems = []
    if not comparison.identical:
        problems.append(
            _(
                "a product of whole numbers on {device} is off by {difference}",
                device=device.label,
                difference=comparison.max_abs,
            )
        )
    if activation.form == "neither" or (activation.form == "tanh" and device.kind != "npu"):
        problems.append(
            _(
                "GELU on {device} is off by {erf} from the exact one and by {tanh} from its tanh form",
                device=device.label,
                erf=activation.erf_error,
                tanh=activation.tanh_error,
            )
        )
    if problems:
        return failed(problems, figures)
    return passed(_("{device}, {name}", device=device.label, name=device.name), figures)
