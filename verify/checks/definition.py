"""Whether the installed library computes the model that config.json declares. On the CPU, and no check of the device.

Equation by equation on a small model of the same definition, then the bundled checkpoint's values against those of the
declared library. What else is verified holds the device against this library: it is as right as the library is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from env.errors import BundleError
from env.language import Message, _
from model import device
from model.signature import Signature
from verify.reference import bundled
from verify.reference.definition import encoder, language_model, miniature
from verify.reference.definition.equation import Equation, Reading
from verify.reference.definition.miniature import Miniature
from verify.run.figures.definition import BundledFigures, DefinitionFigures, EquationFigures
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

EQUATIONS: tuple[Equation, ...] = (*language_model.EQUATIONS, *encoder.EQUATIONS)
SHOWN = 3  # problems that the reason names


def measure(config: Mapping[str, Any]) -> DefinitionFigures:
    """Every equation of a config.json, then the bundled checkpoint's values.

    Raises:
        CheckpointError: the library does not load such a model.
    """
    mini = miniature.load(config)
    device.set_threads(mini.checkpoint.parameters)
    rows: list[EquationFigures] = []
    missing: list[str] = []
    problems: list[Message] = []
    for equation in EQUATIONS:
        reading, problem = read(equation, mini)
        if reading is None:
            missing.append(equation.name)
            continue
        rows.append(figures_of(equation, reading, holds=problem is None))
        problems += [problem] if problem else []
    shipped = bundled.read()
    values = bundled_figures(shipped)
    problems += problems_of(values)
    return DefinitionFigures(
        transformers=str(device.versions()["transformers"]),
        equations=rows,
        not_covered=missing,
        bundled=values,
        problems=problems,
    )


def read(equation: Equation, mini: Miniature) -> tuple[Reading | None, Message | None]:
    """An equation's reading, and what is wrong. A library without a part, or with another shape of it, is wrong too."""
    try:
        reading = equation.measure(mini)
    except BundleError:
        raise
    except Exception as error:  # whatever another release of the library does
        detail = next(iter(str(error).splitlines()), "") or type(error).__name__
        return Reading(math.inf), _(
            "{name}: {formula} cannot be held on this library: {error}",
            name=equation.name,
            formula=equation.formula,
            error=detail,
        )
    return reading, equation.problem(reading) if reading is not None else None


def figures_of(equation: Equation, reading: Reading, *, holds: bool) -> EquationFigures:
    return EquationFigures(
        name=equation.name,
        formula=equation.formula,
        source=equation.source,
        error=reading.error if math.isfinite(reading.error) else None,
        limit=equation.limit,
        declared=reading.declared,
        computed=reading.computed,
        passed=holds,
    )


def bundled_figures(shipped: bundled.Shipped) -> BundledFigures:
    """The bundled checkpoint's values on the installed library; none where it does not compute them."""
    try:
        values = bundled.compute(bundled.bundled_checkpoint(), shipped.inputs)
    except BundleError:
        raise
    except Exception:  # as of an equation: the rows say that nothing could be compared
        values = {}
    off = bundled.differences(shipped, values)
    errors = {name: error if math.isfinite(error) else None for name, error in off.items()}
    return BundledFigures(made_with=dict(shipped.made), errors=errors, limit=bundled.LIMIT)


def problems_of(values: BundledFigures) -> Iterable[Message]:
    """The first component, in the order of the forward pass, that is another."""
    beyond = {name: error for name, error in values.errors.items() if error is None or error > values.limit}
    if not beyond:
        return
    name, error = next(iter(beyond.items()))
    fields: dict[str, Any] = {"component": name, "version": values.made_with["transformers"]}
    if error is None:
        yield _(
            "the bundled checkpoint: {component} cannot be compared with the values of transformers {version}", **fields
        )
    else:
        yield _(
            "the bundled checkpoint: {component} is not that of transformers {version}: off by {error:.1e}",
            error=error,
            **fields,
        )


def check(session: Verification) -> Outcome:
    """The library computes what config.json declares, equation by equation, and the values of the declared library."""
    figures = measure(session.checkpoint.config)
    signature = Signature(versions=device.versions(), n=len(figures.equations))
    if figures.problems:
        more = len(figures.problems) - SHOWN
        shown = figures.problems[:SHOWN] + ([_("and {count} more", count=more)] if more > 0 else [])
        return failed(shown, figures, signature)
    worst = max(error or 0.0 for error in figures.bundled.errors.values())
    reason = _(
        "{count} equations of the definition hold on transformers {version}, "
        "and the values of {declared} up to {error:.1e}",
        count=len(figures.equations),
        version=figures.transformers,
        declared=figures.bundled.made_with["transformers"],
        error=worst,
    )
    return passed(reason, figures, signature)
