"""Level 2: the library's own loader takes the checkpoint, whole, to the device."""

from __future__ import annotations

from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """The library's own loader takes the checkpoint, whole, to the device."""
    loaded = session.model
    data = {
        "seconds": loaded.seconds,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "dtype": loaded.dtype,
        "attention": loaded.attention,
        "class": type(loaded.model).__name__,
    }
    wanted = loaded.checkpoint.parameters
    if data["parameters"] != wanted:
        return Outcome(Status.FAIL, f"{data['parameters']:,} parameters loaded, {wanted:,} in the checkpoint", data)
    return Outcome(Status.PASS, f"{data['class']}, {loaded.dtype}, {loaded.seconds:.1f} s", data, session.signature())
