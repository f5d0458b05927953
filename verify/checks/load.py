"""Level 2: the library's own loader takes the checkpoint, whole, to the device."""

from __future__ import annotations

from env.language import _
from verify.run.figures.weights import LoadFigures
from verify.run.judgement import of_load
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """The library's own loader takes the checkpoint, whole, to the device."""
    loaded = session.model
    figures = LoadFigures(
        seconds=loaded.seconds,
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        dtype=loaded.dtype,
        attention=loaded.attention,
        class_name=type(loaded.model).__name__,
        adapted=list(loaded.adapted),
    )
    if problems := of_load(figures.parameters, loaded.checkpoint.parameters):
        return failed(problems, figures)
    reason = _(
        "{class_name}, {dtype}, {seconds:.1f} s",
        class_name=figures.class_name,
        dtype=loaded.dtype,
        seconds=loaded.seconds,
    )
    for change in loaded.adapted:
        reason = _("{reason}; {change}", reason=reason, change=change)
    return passed(reason, figures, session.signature())
