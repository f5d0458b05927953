"""The model on the device against a wider reference on the CPU: same weights, same inputs, component by component.

Each component is fed the reference's own input, rounded to the device's dtype on both sides, so that one that is wrong
does not blame its successors; "end_to_end" is the library's forward pass against the reference's chain. Limits are what
ideal devices of the dtype are off by on these very inputs, with a factor and a margin (verify/reference/bounds.py).
"""

from __future__ import annotations

from typing import Any

from model.components import Inputs, Loaded
from verify.reference import bounds, numerics, pairs
from verify.reference.numerics import as_array
from verify.reference.values import Expected
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

CLASSES = ("ctc_head", "language_model", "end_to_end")  # whose last axis holds scores


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> dict[str, Any]:
    """{"reference": ..., "components": {name: figures, limits, passed, problems}}, as the parity record holds it.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    components = {
        name: judged(as_array(actual), as_array(reference), limits(loaded, expected, name), classes=name in CLASSES)
        for name, actual, reference in pairs.of_components(loaded, inputs)
    }
    return {"reference": {"device": "cpu", "dtype": pairs.WIDER[loaded.dtype]}, "components": components}


def limits(loaded: Loaded, expected: Expected, component: str) -> numerics.Limits:
    """What a component may be off by on the inputs of `expected`."""
    if component == "splice":
        return bounds.one_rounding(loaded.dtype)
    return bounds.limits(
        bounds.arithmetic(loaded),
        loaded.dtype,
        component,
        expected.noise_of[loaded.dtype].components[component],
        classes=component in CLASSES,
    )


def judged(actual: Any, expected: Any, limits: numerics.Limits, *, classes: bool) -> dict[str, Any]:
    """One component's figures with the limits they were held to."""
    try:
        comparison = numerics.compare(actual, expected, classes=classes)
        problems = numerics.judge(comparison, limits)
    except ValueError as error:
        comparison, problems = numerics.Comparison(finite=True, identical=False), [str(error)]
    return {
        **comparison.as_json(),
        "limits": dict(limits.values),
        "limit_source": limits.source,
        "problems": problems,
        "passed": not problems,
    }


def check(session: Verification) -> Outcome:
    """Every component agrees with a wider CPU reference of the same weights, within the dtype's limits."""
    data = measure(session.model, session.inputs, session.reference)
    wrong = [f"{name}: {', '.join(e['problems'])}" for name, e in data["components"].items() if not e["passed"]]
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, session.signature())
    worst = max(entry["rel_l2"] for entry in data["components"].values())
    return Outcome(Status.PASS, f"relative error at most {worst:.1e}", data, session.signature())
