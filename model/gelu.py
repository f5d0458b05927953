"""Which GELU a device computes: the published model's, by the error function, or its approximation by tanh.

torch-npu hands torch's `approximate` on only where its compatible implementation is on (model/device.py); else every
GELU is aclnnGelu, which is the tanh form (CANN ops-nn, activation/gelu/docs/aclnnGelu.md). The vendor tests the switch
from CANN 9.0.0 on only (op-plugin, test/test_base_ops/test_gelu.py), so it is not trusted: the device is asked. Tanh in
spite of the switch is a fault from the torch-npu of that CANN on, and before it what the verdict says and is held to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from model.device import Device

Form = Literal["erf", "tanh", "neither"]

NEAR = 1e-4  # the forms are 4.7e-4 apart at most, and float32 operators within 1e-6 of theirs
FROM, TO, POINTS = -6.0, 6.0, 4096  # beyond, either form is the identity or zero


@dataclass(frozen=True)
class Gelu:
    """What a device computes for torch's `gelu` in float32: its largest distance from either form in float64."""

    erf_error: float
    tanh_error: float

    @property
    def form(self) -> Form:
        """The nearer form, where it is near."""
        if not min(self.erf_error, self.tanh_error) <= NEAR:  # NaN is not near
            return "neither"
        return "erf" if self.erf_error <= self.tanh_error else "tanh"


@cache
def of(device: Device) -> Gelu:
    """Ask the device, once a process.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    import torch
    from torch.nn import functional

    from model.device import runtime_errors  # here: a reader of records takes the forms, and no device

    points = torch.linspace(FROM, TO, POINTS)
    with runtime_errors(device, "computing a GELU"), torch.inference_mode():
        values = functional.gelu(points.to(device.torch_device)).cpu().double()
    erf, tanh = (functional.gelu(points.double(), approximate=form) for form in ("none", "tanh"))
    return Gelu(_distance(values, erf), _distance(values, tanh))


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().nan_to_num(nan=float("inf")).max())


def use_tanh(model: torch.nn.Module) -> None:
    """Let every GELU of a model take the tanh form, as on a device that has no other."""
    import torch
    from torch.nn import functional
    from transformers.activations import GELUActivation

    for module in model.modules():
        if isinstance(module, GELUActivation):
            module.act = partial(functional.gelu, approximate="tanh")
        elif isinstance(module, torch.nn.GELU):
            module.approximate = "tanh"
