"""What an equation of the definition is, and what its reading on a miniature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from env.language import Message, _
from verify.reference.definition.miniature import Miniature
from verify.reference.numerics import Array, relative_l2

# Relative, in the Euclidean norm. What is float64 throughout agrees to 1e-15 here; what the library does in float32
# whatever the model's dtype (GraniteRMSNorm, GraniteRotaryEmbedding) to a few of its unit roundoffs, 6e-8.
EXACT = 1e-9
SINGLE = 1e-5
TELLABLE = 0.05  # of the error that a value of the library's own choice must explain


@dataclass(frozen=True)
class Reading:
    """How far the library is from an equation; where a number is at fault, the declared one and the computed."""

    error: float
    declared: float | None = None
    computed: float | None = None


class Measure(Protocol):
    def __call__(self, mini: Miniature) -> Reading | None: ...


@dataclass(frozen=True)
class Equation:
    """A single equation of the model. `measure` gives None where the config declares what it does not cover."""

    name: str  # what of config.json, or of the model, is held
    formula: str
    source: str  # that the model is defined so
    limit: float
    measure: Measure

    def problem(self, reading: Reading) -> Message | None:
        """What is wrong, as a sentence; None where the equation holds."""
        if reading.error <= self.limit:
            return None
        error = reading.error if math.isfinite(reading.error) else 1.0
        if reading.computed is not None and reading.declared is not None:
            return _(
                "{name}: the library does not compute {formula}: {declared:.6g} is declared, {computed:.6g} computed "
                "with (off by {error:.1e})",
                name=self.name,
                formula=self.formula,
                declared=reading.declared,
                computed=reading.computed,
                error=error,
            )
        return _(
            "{name}: the library does not compute {formula}: off by {error:.1e}",
            name=self.name,
            formula=self.formula,
            error=error,
        )


def told(error: float, declared: float, computed: float) -> Reading:
    """A reading with what was computed with, where that can be told."""
    return Reading(error, declared, computed if math.isfinite(computed) else None)


def fitted(actual: Array, of: Callable[[float], Array], declared: float) -> Reading:
    """A reading of `of(declared)`; where it is not what the library gave, the value within a factor of a hundred that
    explains it.
    """
    error = relative_l2(of(declared), actual)
    if error <= EXACT:
        return Reading(error, declared)
    from scipy.optimize import minimize_scalar

    def off(exponent: float) -> float:
        return relative_l2(of(declared * 10.0**exponent), actual)

    start = min((step / 4 for step in range(-8, 9)), key=off)
    best = minimize_scalar(off, bounds=(start - 0.25, start + 0.25), method="bounded", options={"xatol": 1e-7})
    return told(error, declared, declared * 10.0**best.x) if best.fun <= TELLABLE * error else Reading(error, declared)
