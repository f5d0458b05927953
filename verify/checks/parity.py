"""The model on the device against a wider reference on the CPU: same weights, same inputs, component by component.

Each component is fed the reference's own input, rounded to the device's dtype on both sides, so that one that is wrong
does not blame its successors; "end_to_end" is the library's forward pass against the reference's chain.

Limits are a table's, which was measured over many inputs. Some inputs are worse conditioned than those: what is beyond
the table is held to what ideal devices of the dtype are off by on these very inputs (verify/reference/bounds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import torch
from msgspec import structs

from env.language import _
from model import components
from model.components import Inputs, Loaded
from model.device import runtime_errors
from model.reference import Reference
from verify.reference import bounds, numerics
from verify.reference.numerics import as_array
from verify.reference.values import Expected
from verify.run.figures.components import AgreementFigures, ParityFigures, ParityReference
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

CLASSES = ("ctc_head", "language_model", "end_to_end")  # whose last axis holds scores
# A run must not be its own reference, so the reference is one step wider than what is verified.
WIDER = {"bfloat16": "float32", "float16": "float32", "float32": "float64"}

# The layer whose output a component's is, where a forward pass has it from the same input.
LAYER_OF = {"encoder": "encoder", "projector": "projector", "language_model": "language_model", "end_to_end": ""}
IDEAL = "what ideal devices of the dtype are off by on these inputs, end to end (verify/reference/bounds.py)"


def measure(loaded: Loaded, inputs: Inputs, expected: Callable[[], Expected] | None = None) -> ParityFigures:
    """Every component against the reference.

    `expected` is made only where a component is beyond the table's limits.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    reference = WIDER[loaded.dtype]
    depth = {
        "encoder": loaded.architecture.encoder.num_layers,
        "ctc_head": 1,
        "splice": 1,
        "projector": loaded.architecture.projector.num_hidden_layers,
        "language_model": loaded.architecture.text.num_hidden_layers,
        "end_to_end": loaded.architecture.text.num_hidden_layers,
    }
    agreement = {}
    for name, actual, wide in _pairs(loaded, inputs, Reference(loaded.checkpoint, reference)):
        classes = name in CLASSES
        limits = numerics.limits_for(loaded.device.kind, loaded.dtype, name, layers=depth[name], classes=classes)
        agreement[name] = judged(as_array(actual), as_array(wide), limits, classes=classes)
        if expected is not None and not agreement[name].passed and name in LAYER_OF:
            limits = numerics.widened(limits, _ideal_error(loaded, name, expected()), IDEAL)
            agreement[name] = judged(as_array(actual), as_array(wide), limits, classes=classes)
    return ParityFigures(reference=ParityReference(device="cpu", dtype=reference), components=agreement)


def _ideal_error(loaded: Loaded, component: str, expected: Expected) -> float:
    """The bound of a component's output in a whole pass. A component that is fed the reference's input errs less."""
    key = (LAYER_OF[component], "out of", 0, 0)
    noise = expected.noise[loaded.dtype]["end_to_end"][key]
    kind = bounds.kind_of(expected.points[key])
    return bounds.bound(bounds.arithmetic(loaded), loaded.dtype, "end_to_end", kind, noise).rel_l2


def judged(actual: Any, expected: Any, limits: numerics.Limits, *, classes: bool) -> AgreementFigures:
    """One component's figures with the limits they are held to."""
    try:
        comparison = numerics.compare(actual, expected, classes=classes)
        problems = numerics.judge(comparison, limits)
    except ValueError as error:
        comparison, problems = numerics.Comparison(finite=True, identical=False), [error.args[0]]
    return AgreementFigures(
        **structs.asdict(comparison.figures),
        limits=dict(limits.values),
        limit_source=limits.source,
        problems=problems,
        passed=not problems,
    )


def _pairs(loaded: Loaded, inputs: Inputs, reference: Reference) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    model, dtype = loaded.model, loaded.torch_dtype

    def there(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(loaded.device.torch_device)

    with runtime_errors(loaded.device, "comparing with the reference"), torch.inference_mode():
        features = inputs.features.to(dtype)
        encoded = reference.encode(features)
        yield "encoder", components.encode(model, there(features)), encoded
        rounded = encoded.to(dtype)
        yield "ctc_head", components.ctc_head(model, there(rounded)), reference.ctc_head(rounded)
        yield "projector", components.project(model, there(rounded)), reference.project(rounded)
        audio = reference.project(encoded)
        merged = reference.splice(inputs.input_ids, audio)
        spliced = components.splice(model, there(inputs.input_ids), there(audio.to(dtype)))
        yield "splice", spliced, reference.splice(inputs.input_ids, audio.to(dtype))
        rounded = merged.to(dtype)
        yield "language_model", components.language_model(model, there(rounded)), reference.language_model(rounded)
        logits = components.forward(model, there(features), there(inputs.input_ids))
        yield "end_to_end", logits, reference.language_model(merged)


def _and(one: str, other: str) -> str:
    """Two problems of one component."""
    return _("{one}, {other}", one=one, other=other)


def check(session: Verification) -> Outcome:
    """Every component agrees with a wider CPU reference of the same weights, within the dtype's limits."""
    figures = measure(session.model, session.inputs, lambda: session.reference)
    problems = [
        _("{component}: {problem}", component=name, problem=reduce(_and, entry.problems))
        for name, entry in figures.components.items()
        if not entry.passed
    ]
    if problems:
        return failed(problems, figures, session.signature())
    worst = max(entry.rel_l2 or 0.0 for entry in figures.components.values())
    return passed(_("relative error at most {error:.1e}", error=worst), figures, session.signature())
