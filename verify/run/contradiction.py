"""Records whose status is better than their figures: judged again with the limits that ship.

A status is one word in a JSON file, and whoever may write the folder may write "pass". So the figures are judged anew,
by the checks' own judgement (judgement.py), and by the limits of this version wherever those follow from the record: no
limit that a record brings along may be wider. What disagrees is a damaged record, which verifies nothing. Times
have no limit. Figures that are forged too, consistently, are those of another run: no reader of files can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from env.language import _
from env.toml import load_toml
from verify.reference import bounds
from verify.reference.figures import Figures, PointFigures
from verify.run import derived, judgement, spoken, vendor
from verify.run.figures.benchmark import BenchmarkFigures
from verify.run.figures.components import DeterminismFigures, ParityFigures, ShapesFigures, SpliceFigures
from verify.run.figures.configurations import ConfigurationsFigures
from verify.run.figures.definition import DefinitionFigures
from verify.run.figures.frontend import FrontendFigures
from verify.run.figures.host import DeviceFigures, MachineFigures, PackagesFigures
from verify.run.figures.layers import LayersFigures, PassFigures
from verify.run.figures.repeats import RepeatabilityFigures, RepeatsFigures, SoakFigures
from verify.run.figures.speech import SpeechFigures
from verify.run.figures.stress import StressFigures
from verify.run.figures.tokens import ForcedRunFigures, FreeRunFigures, GenerateFigures, TokensFigures
from verify.run.figures.vendor import VendorFigures
from verify.run.figures.weights import CheckpointFigures, LoadFigures, WeightsFigures

# What judging raises on figures of the right types that no check writes: a limit of no measure, a step that is no step.
UNJUDGEABLE = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError)
FRONTEND_LIMITS = Path(__file__).parents[1] / "checks" / "frontend.toml"


@dataclass(frozen=True)
class Around:
    """What a judgement takes from outside the record: the run's option, and what other records say."""

    device: str  # the option
    signature: Mapping[str, Any]
    emulated: bool
    checkpoint: CheckpointFigures | None
    noise_due: bool = False  # whether the run's version records the noise that bounds are made of

    @property
    def dtype(self) -> str | None:
        """The dtype of the figures, where it is one that there are limits for."""
        dtype = self.signature.get("dtype")
        return dtype if dtype in bounds.UNIT_ROUNDOFF else None

    @property
    def arithmetic(self) -> str:
        """Whose arithmetic it is, as bounds.arithmetic has it."""
        kind = str(self.signature.get("device") or "cpu").partition(":")[0]
        return "cpu" if self.emulated else kind


Judge = Callable[[Any, Around], Iterator[str]]


def problems(check: str, figures: Figures, around: Around) -> list[str]:
    """Everything in a check's figures that keeps it from having passed; nothing of a check without limits."""
    try:
        return list(JUDGES[check](figures, around)) if check in JUDGES else []
    except UNJUDGEABLE as error:
        return [_("cannot be judged: {error}", error=str(error))]


def _machine(figures: MachineFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_machine(figures, around.device)


def _packages(figures: PackagesFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_packages(figures)


def _checkpoint(figures: CheckpointFigures, around: Around) -> Iterator[str]:
    if figures.sums is not None and figures.sums.status == "differ":
        yield _("the files differ from their sums")


def _device(figures: DeviceFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_device(figures)


def _load(figures: LoadFigures, around: Around) -> Iterator[str]:
    if around.checkpoint is not None:
        yield from judgement.of_load(figures.parameters, around.checkpoint.parameters)


def _definition(figures: DefinitionFigures, around: Around) -> Iterator[str]:
    yield from figures.problems
    for row in figures.equations:
        if not row.passed or row.error is None or row.error > row.limit:
            yield _("{name}: the library does not compute {formula}", name=row.name, formula=row.formula)
    for name, error in figures.bundled.errors.items():
        if error is None or error > figures.bundled.limit:
            yield _("the bundled checkpoint: {component} departs", component=name)


def _frontend(figures: FrontendFigures, around: Around) -> Iterator[str]:
    limits = {
        f"{kind}_{measure}_limit": limit
        for kind, row in load_toml(FRONTEND_LIMITS).items()
        for measure, limit in row.items()
        if measure != "source"
    }
    tight = {name: min(limit, getattr(figures, name)) for name, limit in limits.items()}
    yield from judgement.of_frontend(structs.replace(figures, **tight))


def _weights(figures: WeightsFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_weights(figures)
    if figures.differing_count and not figures.differing:
        yield _("{count} tensors differ", count=figures.differing_count)


def _shapes(figures: ShapesFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_shapes(figures)


def _splice(figures: SpliceFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_splice(figures)
    if figures.positions_replaced != figures.audio_tokens:
        yield _(
            "{replaced} of {tokens} audio positions hold the projector's output",
            replaced=figures.positions_replaced,
            tokens=figures.audio_tokens,
        )


def _generate(figures: GenerateFigures, around: Around) -> Iterator[str]:
    limit = figures.cached_rel_l2_limit
    if around.dtype is not None and around.checkpoint is not None:
        layers = around.checkpoint.architecture.text.get("num_hidden_layers")
        if isinstance(layers, int):
            limit = min(limit, bounds.cached_limit(around.arithmetic, around.dtype, layers))
    yield from judgement.of_generate(structs.replace(figures, cached_rel_l2_limit=limit))


def _determinism(figures: DeterminismFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_determinism(figures)
    for name, entry in figures.components.items():
        if entry.identical and (not entry.finite or entry.rel_l2 != 0):
            yield _("{name} is off by {error} from itself", name=name, error=entry.rel_l2)


def _parity(figures: ParityFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_parity(figures)
    for name, entry in figures.components.items():
        if not entry.passed:
            yield _("{component}: {problem}", component=name, problem=_("did not pass"))
        limits = dict(entry.limits)
        for measure, limit in _shipped(name, entry.noise, around).items():
            kept = limits.get(measure, limit)
            limits[measure] = max(kept, limit) if measure == "cosine" else min(kept, limit)
        for problem in judgement.of_component(entry, limits):
            yield _("{component}: {problem}", component=name, problem=problem)


def _shipped(component: str, noise: float | None, around: Around) -> Mapping[str, float]:
    """The limits of this version, where they follow from a record: by the dtype alone, or with ideal devices' noise."""
    if around.dtype is None:
        return {}
    if component == "splice":
        return bounds.one_rounding(around.dtype).values
    if noise is None:
        return {}
    try:
        return bounds.limits(around.arithmetic, around.dtype, component, (noise, noise)).values
    except KeyError:  # a component of another version
        return {}


def _layers(figures: LayersFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_layers(figures)
    for each in (figures.isolated, figures.end_to_end):
        yield from _pass(each)
    yield from derived.of_pass(figures.isolated, "isolated", around)
    yield from derived.of_pass(figures.end_to_end, "end_to_end", around)
    if not figures.logits.finite:
        yield _("scores hold NaN or infinity")


def _pass(figures: PassFigures) -> Iterator[str]:
    if figures.beyond:
        yield _("{count} points beyond their bounds", count=figures.beyond)
    for point in (*figures.departures, *figures.closest):
        if not point.passed or not _excess(point) <= 1.0:
            yield _("{point} is beyond its bound", point=point.name)


def _excess(point: PointFigures) -> float:
    """As points.Reading has it: the larger of error over bound."""
    if not point.finite or point.rel_l2 is None or point.worst_element is None or point.excess is None:
        return math.inf
    bound = point.expected
    return max(point.excess, point.rel_l2 / bound.rel_l2, point.worst_element / bound.worst_element)


def _tokens(figures: TokensFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_tokens(figures)
    yield from derived.of_tokens(figures, around)
    for number, row in enumerate(figures.free):
        if not row.passed or not _followed(row, figures.expected.rel_l2):
            yield _("row {row}: {problem}", row=number, problem=_("departs from the reference"))
    for number, forced in enumerate(figures.forced):
        if not _complete(forced, figures.tokens):
            yield _("row {row}: {problem}", row=number, problem=_("choices are missing"))


def _followed(row: FreeRunFigures, bound: float) -> bool:
    return all(error is not None and error <= bound for error in row.rel_l2)


def _complete(row: ForcedRunFigures, tokens: int) -> bool:
    return row.same + row.ties + len(row.wrong) == tokens


def _configurations(figures: ConfigurationsFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_configurations(figures)
    yield from (row.summary for row in figures.rows if row.passed is False)
    yield from derived.of_configurations(figures, around)


def _repeatability(figures: RepeatabilityFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_repeatability(figures)
    yield from derived.of_batch(figures, around)
    each: RepeatsFigures
    for each in (figures.repeats, figures.repeats_sharp):
        if each.differing:
            yield _("{differing} of {runs} runs differ", differing=each.differing, runs=each.runs)


def _soak(figures: SoakFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_soak(figures)
    if figures.listed and not figures.mismatches:
        yield _("{differing} of {runs} runs differ", differing=len(figures.listed), runs=figures.rounds)


def _vendor(figures: VendorFigures, around: Around) -> Iterator[str]:
    yield from vendor.of_vendor(figures)
    if not figures.rates and not vendor.vendor_passed(figures):
        yield _("the vendor's tools tested nothing")


def _stress(figures: StressFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_stress(figures)
    if figures.code:
        yield _("the vendor's test found the card computing wrong (code {code})", code=figures.code)


def _speech(figures: SpeechFigures, around: Around) -> Iterator[str]:
    yield from spoken.problems(figures, around.dtype, around.arithmetic)


def _benchmark(figures: BenchmarkFigures, around: Around) -> Iterator[str]:
    yield from judgement.of_card(figures.card)
    yield from judgement.of_copies(figures.copies)


JUDGES: Mapping[str, Judge] = {
    "machine": _machine,
    "packages": _packages,
    "checkpoint": _checkpoint,
    "device": _device,
    "load": _load,
    "definition": _definition,
    "frontend": _frontend,
    "weights": _weights,
    "shapes": _shapes,
    "splice": _splice,
    "generate": _generate,
    "determinism": _determinism,
    "parity": _parity,
    "layers": _layers,
    "sharp": _layers,
    "tokens": _tokens,
    "configurations": _configurations,
    "repeatability": _repeatability,
    "speech": _speech,
    "soak": _soak,
    "vendor": _vendor,
    "stress": _stress,
    "benchmark": _benchmark,
}
