"""Level 2: every component gives the shape that the checkpoint's own config implies."""

from __future__ import annotations

import torch

from env.language import _
from model.device import runtime_errors
from verify.run.figures.components import ShapeFigures, ShapesFigures
from verify.run.judgement import of_shapes
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """Every component gives the shape that the checkpoint's own config implies, all of it finite."""
    inputs, parts = session.inputs, session.parts
    expected = session.checkpoint.architecture.output_shapes(inputs.batch, inputs.frames, inputs.positions)
    components = {}
    for name, shape in expected.items():
        output = parts[name].output
        finite = bool(output.isfinite().all().item())
        components[name] = ShapeFigures(shape=list(output.shape), expected=list(shape), finite=finite)
    figures = ShapesFigures(components=components, overflow=_overflow(session))
    if problems := of_shapes(figures):
        return failed(problems, figures, session.signature())
    reason = _("{count} components as the config implies", count=len(components))
    if figures.overflow is not None:
        flag = _("set") if figures.overflow else _("clear")
        reason = _(
            "{reason}; infinity would show as the largest number here, the overflow flag is {flag}",
            reason=reason,
            flag=flag,
        )
    return passed(reason, figures, session.signature())


def _overflow(session: Verification) -> bool | None:
    """Whether one more pass sets the chip's flag, where an infinity would not show. Reported, not judged: a mask of
    minus infinity may set it too, and what overflowed is far from the reference's numbers.
    """
    device = session.device
    if device.overflowed(clear=True) is None:
        return None
    with runtime_errors(device, "looking for an overflow"), torch.inference_mode():
        for step in session.parts.values():
            step.run()
        device.synchronize()
        return device.overflowed()
