"""Level 2: every component gives the shape that the checkpoint's own config implies."""

from __future__ import annotations

from env.language import _
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
    figures = ShapesFigures(components=components)
    if problems := of_shapes(figures):
        return failed(problems, figures, session.signature())
    return passed(_("{count} components as the config implies", count=len(components)), figures, session.signature())
