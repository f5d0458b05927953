"""The model on the device against a wider reference on the CPU: same weights, same inputs, component by component.

Each component is fed the reference's own input, rounded to the device's dtype on both sides, so that one that is wrong
does not blame its successors; "end_to_end" is the library's forward pass against the reference's chain. Limits are what
ideal devices of the dtype are off by on these very inputs, with a factor and a margin (verify/reference/bounds.py).
"""

from __future__ import annotations

import os
from typing import Any

from msgspec import UNSET, structs

from env.language import _, as_message
from model.components import Inputs, Loaded
from model.threads import of_reference
from verify.reference import bounds, numerics, pairs
from verify.reference.limits import Limits, judge
from verify.reference.numerics import as_array
from verify.reference.values import Expected
from verify.run.figures.components import AgreementFigures, ParityFigures, ParityReference
from verify.run.judgement import of_parity
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

SPLICE = "splice"  # moves values and computes none
CLASSES = ("ctc_head", "language_model", "end_to_end")  # whose last axis holds scores


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> ParityFigures:
    """Every component against the reference, within what ideal devices' noise in `expected` allows.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    components = {
        name: structs.replace(
            judged(as_array(actual), as_array(reference), limits(loaded, expected, name), classes=name in CLASSES),
            noise=None if name == SPLICE else noise_of(loaded, expected, name),
        )
        for name, actual, reference in pairs.of_components(loaded, inputs)
    }
    count = of_reference(loaded.checkpoint.parameters) or loaded.threads
    inherited = os.environ.get("OMP_NUM_THREADS", str(count))
    reference = ParityReference(
        device="cpu",
        dtype=pairs.WIDER[loaded.dtype],
        threads=count,
        omp_num_threads=UNSET if inherited == str(count) else inherited,
    )
    return ParityFigures(reference=reference, components=components)


def limits(loaded: Loaded, expected: Expected, component: str) -> Limits:
    """What a component may be off by on the inputs of `expected`."""
    if component == SPLICE:
        return bounds.one_rounding(loaded.dtype)
    return bounds.limits(
        bounds.arithmetic(loaded),
        loaded.dtype,
        component,
        expected.noise_of[loaded.dtype].components[component],
        classes=component in CLASSES,
    )


def noise_of(loaded: Loaded, expected: Expected, component: str) -> float:
    """The rel_l2 of ideal devices on these inputs."""
    return expected.noise_of[loaded.dtype].components[component][0]


def judged(actual: Any, expected: Any, limits: Limits, *, classes: bool) -> AgreementFigures:
    """One component's figures with the limits they are held to."""
    try:
        comparison = numerics.compare(actual, expected, classes=classes)
        problems = judge(comparison, limits)
    except ValueError as error:
        comparison, problems = numerics.Comparison(finite=True, identical=False), [error.args[0]]
    return AgreementFigures(
        **structs.asdict(comparison.figures),
        limits=dict(limits.values),
        limit_source=as_message(limits.source),
        problems=[as_message(problem) for problem in problems],
        passed=not problems,
    )


def check(session: Verification) -> Outcome:
    """Every component agrees with a wider CPU reference of the same weights, within the dtype's limits."""
    figures = measure(session.model, session.inputs, session.reference)
    if problems := of_parity(figures):
        return failed(problems, figures, session.signature())
    worst = max(entry.rel_l2 or 0.0 for entry in figures.components.values())
    return passed(_("relative error at most {error:.1e}", error=worst), figures, session.signature())
