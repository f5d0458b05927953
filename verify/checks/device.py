"""Level 1: does the device of the run answer, multiply right, and have the model's GELU? And its other operators?"""

from __future__ import annotations

import math
import time

import torch

from env.language import _
from model import components, gelu, npu
from model.device import Device, emulated, runtime_errors, versions
from verify.reference import operators
from verify.reference.numerics import Comparison, as_array, compare
from verify.run.figures.host import CardTried, DeviceFigures, GeluFigures, OperationFigures
from verify.run.judgement import of_device
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

OPERATION_SIZE = 64


def check(session: Verification) -> Outcome:
    """The device answers, one matrix product on it is right, and its GELU is the published one.

    The product of two matrices of small whole numbers is exact in every dtype that has 8 bits of mantissa and a
    float32 accumulator, so any difference at all is a fault. An NPU may have GELU by tanh alone: the reference then
    takes it as well, and the verdict says so; one whose torch-npu has the model's own, switched on, may not. The other
    operators are measured and not judged: what a model owes to them its layers show, and where they fail these rows
    say why.
    """
    device = session.device
    compiler = _compiler_start(device)
    first = _tried(device, session.seed)
    figures = DeviceFigures(
        asked=session.context.device,
        kind=device.kind,
        index=device.index,
        label=device.label,
        name=device.name,
        total_memory_bytes=device.total_memory_bytes,
        emulated=emulated(),
        versions=versions(),
        op=first.op,
        gelu=first.gelu,
        compiler_start_s=compiler,
        operators=session.operators,
        equal_maxima=operators.equal_maxima(device),
        others=[_tried(card, session.seed) for card in device.cards[1:]],
    )
    if problems := list(of_device(figures)):
        return failed(problems, figures)
    labels = ", ".join(card.label for card in device.cards)
    return passed(_("{device}, {name}", device=labels, name=device.name), figures)


def _tried(card: Device, seed: int) -> CardTried:
    """What one card gives for the product and for GELU."""
    comparison, activation = _product(card, seed), gelu.of(card)
    return CardTried(
        label=card.label,
        name=card.name,
        total_memory_bytes=card.total_memory_bytes,
        op=OperationFigures(name="matmul", size=OPERATION_SIZE, max_abs=comparison.figures.max_abs),
        gelu=GeluFigures(
            form=activation.form,
            erf_error=_finite(activation.erf_error),
            tanh_error=_finite(activation.tanh_error),
            switched=npu.compatible_switched() if card.kind == "npu" else None,
        ),
    )


def _compiler_start(device: Device) -> float | None:
    """Seconds until CANN's operator compiler was there, which float32 needs; None where nothing starts one.

    Here and not first in `sharp`: what it lacks is then told of the device, before anything is judged.
    """
    if device.kind != "npu" or device.refusal("float32"):
        return None
    started = time.perf_counter()
    components.full_precision(device, "float32")
    return time.perf_counter() - started


def _product(device: Device, seed: int) -> Comparison:
    generator = torch.Generator().manual_seed(seed)
    size = (OPERATION_SIZE, OPERATION_SIZE)
    left = torch.randint(-1, 2, size, generator=generator).float()
    right = torch.randint(-1, 2, size, generator=generator).float()
    with runtime_errors(device, "multiplying two matrices"):
        product = left.to(device.torch_device) @ right.to(device.torch_device)
        device.synchronize()
        return compare(as_array(product), as_array(left.double() @ right.double()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
