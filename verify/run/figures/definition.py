"""Figures of the library against the checkpoint's definition."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from env.language import Message
from verify.reference.figures import Figures, Name, Size


class EquationFigures(Figures, frozen=True, kw_only=True):
    """One equation. `error` is relative, None where nothing can be compared; `computed` where it can be told."""

    name: Name  # what of config.json, or of the model, it holds
    formula: Name
    source: Name
    error: Size | None
    limit: Annotated[float, Meta(gt=0)]
    declared: float | None
    computed: float | None
    passed: bool


class BundledFigures(Figures, frozen=True, kw_only=True):
    """The bundled checkpoint's values against the shipped ones, by component: relative, in float64 on the CPU."""

    made_with: dict[str, str]  # transformers, torch, and the digest of the weights
    errors: Annotated[dict[str, Size | None], Meta(min_length=1)]
    limit: Annotated[float, Meta(gt=0)]


class DefinitionFigures(Figures, frozen=True, kw_only=True):
    """Of `definition`."""

    transformers: str  # the installed library
    equations: Annotated[list[EquationFigures], Meta(min_length=1)]
    not_covered: list[str]  # equations that what the config declares is none of
    bundled: BundledFigures
    problems: list[Message]
