"""Level 2: every component gives the shape that the checkpoint's own config implies."""

from __future__ import annotations

from typing import Any

from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """Every component gives the shape that the checkpoint's own config implies, all of it finite."""
    inputs = session.inputs
    parts = session.parts
    expected = session.checkpoint.architecture.output_shapes(inputs.batch, inputs.frames, inputs.positions)
    found: dict[str, dict[str, Any]] = {}
    for name, shape in expected.items():
        output = parts[name].output
        found[name] = {
            "shape": list(output.shape),
            "expected": list(shape),
            "finite": bool(output.isfinite().all().item()),
        }
    wrong = [
        f"{name} {'is ' + str(entry['shape']) if entry['shape'] != entry['expected'] else 'holds NaN or infinity'}"
        for name, entry in found.items()
        if entry["shape"] != entry["expected"] or not entry["finite"]
    ]
    data = {"components": found}
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, session.signature())
    return Outcome(Status.PASS, f"{len(found)} components as the config implies", data, session.signature())
