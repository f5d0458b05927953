"""The figures of every check, by its name: what a record holds, and what the report may ask of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from verify.reference.figures import Figures
from verify.run.figures.benchmark import BenchmarkFigures
from verify.run.figures.components import DeterminismFigures, ParityFigures, ShapesFigures, SpliceFigures
from verify.run.figures.configurations import ConfigurationsFigures
from verify.run.figures.definition import DefinitionFigures
from verify.run.figures.frontend import FrontendFigures
from verify.run.figures.host import DeviceFigures, MachineFigures, PackagesFigures
from verify.run.figures.layers import LayersFigures, SharpFigures
from verify.run.figures.repeats import RepeatabilityFigures, SoakFigures
from verify.run.figures.speech import SpeechFigures
from verify.run.figures.stress import StressFigures
from verify.run.figures.tokens import GenerateFigures, TokensFigures
from verify.run.figures.vendor import VendorFigures
from verify.run.figures.weights import CheckpointFigures, LoadFigures, WeightsFigures

FIGURES: Mapping[str, type[Figures]] = {
    "machine": MachineFigures,
    "packages": PackagesFigures,
    "checkpoint": CheckpointFigures,
    "device": DeviceFigures,
    "load": LoadFigures,
    "definition": DefinitionFigures,
    "frontend": FrontendFigures,
    "weights": WeightsFigures,
    "shapes": ShapesFigures,
    "splice": SpliceFigures,
    "generate": GenerateFigures,
    "determinism": DeterminismFigures,
    "parity": ParityFigures,
    "layers": LayersFigures,
    "sharp": SharpFigures,
    "tokens": TokensFigures,
    "configurations": ConfigurationsFigures,
    "benchmark": BenchmarkFigures,
    "repeatability": RepeatabilityFigures,
    "speech": SpeechFigures,
    "vendor": VendorFigures,
    "soak": SoakFigures,
    "stress": StressFigures,
}


class DiagnosisFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A known failure that the doctor sees in a log, as `python -m env doctor --json` has it."""

    id: str
    line: int | str
    cause: str
    fix: str
