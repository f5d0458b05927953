"""The same inputs, run again: bit for bit, and by the public recipe's own measure (relative error below 1 %)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.components import Step
from model.device import Device, runtime_errors
from verify.reference import numerics
from verify.reference.numerics import as_array
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

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
        with runtime_errors(device, f"running {step.name} again"), torch.inference_mode():
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


RUNS = 3


def check(session: Verification, runs: int = RUNS) -> Outcome:
    """The same inputs give the same bits in every run."""
    data = measure(session.model.device, session.parts, runs)
    differing = [name for name, entry in data["components"].items() if not entry["identical"]]
    if differing:
        worst = {name: data["components"][name]["rel_l2"] for name in differing}
        listed = ", ".join(f"{name} ({value})" for name, value in worst.items())
        return Outcome(Status.FAIL, f"not the same bits in {runs} runs: {listed}", data, session.signature(n=runs))
    return Outcome(Status.PASS, f"{runs} runs, the same bits", data, session.signature(n=runs))
