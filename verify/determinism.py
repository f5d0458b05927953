"""The same inputs, run again: bit for bit, and by the public recipe's own measure (relative error below 1 %)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.components import Step
from model.device import Device, failures
from verify import numerics
from verify.parity import as_array

RECIPE_LIMIT = 0.01  # the public recipe's "relative error < 1 %", which compares a run with itself


def measure(device: Device, parts: Mapping[str, Step], runs: int) -> dict[str, Any]:
    """{"runs", "recipe_limit", "components": {name: {"identical", "rel_l2", "finite", "recipe_passed"}}}.

    `rel_l2` is the worst of the `runs - 1` repeats against the first run; None where a repeat is not finite.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    return {
        "runs": runs,
        "recipe_limit": RECIPE_LIMIT,
        "components": {name: _repeat(device, step, runs) for name, step in parts.items()},
    }


def _repeat(device: Device, step: Step, runs: int) -> dict[str, Any]:
    import torch

    first = as_array(step.output)
    identical, finite, worst = True, True, 0.0
    for _ in range(runs - 1):
        with failures(device, f"running {step.name} again"), torch.inference_mode():
            output = step.run()
            device.synchronize()
        comparison = numerics.compare(as_array(output), first)
        identical &= comparison.identical
        finite &= comparison.finite
        worst = max(worst, comparison.rel_l2 or 0.0)
    return {
        "identical": identical,
        "finite": finite,
        "rel_l2": worst if finite and worst != float("inf") else None,
        "recipe_passed": finite and worst < RECIPE_LIMIT,
    }
