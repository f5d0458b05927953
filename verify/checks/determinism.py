"""The same inputs, run again: bit for bit, and by the public recipe's own measure (relative error below 1 %)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from env.language import _
from model.components import Step
from model.device import Device, runtime_errors
from verify.reference.numerics import as_array, compare
from verify.run.figures.components import DeterminismFigures, RepeatFigures
from verify.run.judgement import of_determinism
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

RECIPE_LIMIT = 0.01  # the public recipe's "relative error < 1 %", which compares a run with itself
RUNS = 3


def measure(device: Device, parts: Mapping[str, Step], runs: int) -> DeterminismFigures:
    """Every component `runs` times.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    components = {name: _repeat(device, step, runs) for name, step in parts.items()}
    return DeterminismFigures(runs=runs, recipe_limit=RECIPE_LIMIT, components=components)


def _repeat(device: Device, step: Step, runs: int) -> RepeatFigures:
    first = as_array(step.output)
    identical, finite, worst = True, True, 0.0
    for _run in range(runs - 1):
        with runtime_errors(device, f"running {step.name} again"), torch.inference_mode():
            output = step.run()
            device.synchronize()
        comparison = compare(as_array(output), first)
        identical &= comparison.identical
        finite &= comparison.finite
        worst = max(worst, comparison.rel_l2 or 0.0)
    return RepeatFigures(
        identical=identical,
        finite=finite,
        rel_l2=worst if finite and worst != math.inf else None,
        recipe_passed=finite and worst < RECIPE_LIMIT,
    )


def check(session: Verification, runs: int = RUNS) -> Outcome:
    """The same inputs give the same bits in every run."""
    figures = measure(session.model.device, session.parts, runs)
    signature = session.signature(n=runs)
    if problems := of_determinism(figures):
        return failed(problems, figures, signature)
    return passed(_("{runs} runs, the same bits", runs=runs), figures, signature)
