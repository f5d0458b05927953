"""What a check's figures say of it: the checks' own judgement, apart from measuring, so that a record is judged again.

Each function takes the figures that its check leaves and gives every problem in them; none where the check passed.
Neither torch nor numpy is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from env.device_name import DeviceName
from env.language import Message, _
from env.versions import parse, public
from model.gelu import Gelu
from verify.reference.figures import CopyFigures
from verify.reference.limits import Limits, beyond, judge
from verify.run.figures.card import CardFigures
from verify.run.figures.components import (
    AgreementFigures,
    DeterminismFigures,
    ParityFigures,
    ShapesFigures,
    SpliceFigures,
)
from verify.run.figures.configurations import ConfigurationsFigures
from verify.run.figures.frontend import FrontendFigures
from verify.run.figures.host import DeviceFigures, GeluFigures, MachineFigures, OperationFigures, PackagesFigures
from verify.run.figures.layers import LayersFigures, PassFigures
from verify.run.figures.repeats import RepeatabilityFigures, RepeatsFigures, SoakFigures
from verify.run.figures.stress import StressFigures
from verify.run.figures.tokens import GenerateFigures, TokensFigures
from verify.run.figures.weights import WeightsFigures

# torch-npu: the release of its line that pairs with CANN 9.0.0 (env/audit/compat.toml), from which on the vendor tests
# the switch (op-plugin, test/test_base_ops/test_gelu.py).
GELU_TESTED_SINCE = "2.9.0.post2"
SHOWN = 3  # problems that a long list names
ZEROS = 1.0  # rel_l2 of zeros to anything


def of_machine(figures: MachineFigures, device: str) -> list[Message]:
    """The errors of the audit, where the run's option `device` names an NPU or is "auto" in a machine that has one."""
    if not wants_npu(figures.ascend_host, device):
        return []
    return [finding.what for finding in figures.findings if finding.severity == "error"]


def wants_npu(ascend_host: bool, device: str) -> bool:
    """Whether the run's option `device` means an NPU: by name, or "auto" where the machine should have one."""
    name = DeviceName.parse_or_none(device)
    return (name is not None and name.kind == "npu") or (device == "auto" and ascend_host)


def of_packages(figures: PackagesFigures) -> list[Message]:
    """Every package and pin that is not as declared and locked."""
    problems: list[Message] = [
        _(
            "{package} {declared} asked, {version} found",
            package=row.name,
            declared=row.asked,
            version=row.found or _("nothing"),
        )
        for row in figures.rows
        if not row.ok and not row.substituted
    ]
    if not figures.python.ok:
        releases = reduce(lambda one, other: _("{one} or {other}", one=one, other=other), figures.python.asked)
        running = ".".join(figures.python.found.split(".")[:2])
        problems.append(_("Python {releases} asked, {python} found", releases=releases, python=running))
    if figures.lock is not None and figures.lock.name is None:
        problems.append(_("the environment has no stamp of its lock"))
    if figures.lock is not None:
        problems += [_("not as locked: {pin}", pin=pin) for pin in figures.lock.drifted]
    return problems


def of_device(figures: DeviceFigures) -> Iterator[Message]:
    """A product that is not exact, or a GELU that is not the model's, on any card. An NPU may have the tanh form alone,
    one that does not owe the other, and every card of a split model has the same.
    """
    versions, kind = figures.versions, figures.kind
    yield from _of_card(figures.label or kind, kind, figures.op, figures.gelu, versions)
    for card in figures.others:
        yield from _of_card(card.label, kind, card.op, card.gelu, versions)
        if figures.gelu is not None and card.gelu.form != figures.gelu.form:
            yield _(
                "GELU is {form} on {device} and {other} on {card}",
                form=figures.gelu.form,
                device=figures.label,
                other=card.gelu.form,
                card=card.label,
            )


def _of_card(
    label: str, kind: str, op: OperationFigures, gelu: GeluFigures | None, versions: Mapping[str, Any]
) -> Iterator[Message]:
    if op.max_abs != 0:
        yield _(
            "a product of whole numbers on {device} is off by {difference}",
            device=label,
            difference=op.max_abs,
        )
    if gelu is None:
        return
    erf, tanh = (float("inf") if error is None else error for error in (gelu.erf_error, gelu.tanh_error))
    forms = {gelu.form, Gelu(erf, tanh).form}
    if "neither" in forms or ("tanh" in forms and kind != "npu"):
        yield _(
            "GELU on {device} is off by {erf:.1e} from the exact one and by {tanh:.1e} from its tanh form",
            device=label,
            erf=erf,
            tanh=tanh,
        )
    elif "tanh" in forms and _owes_the_exact(gelu, versions):
        yield _(
            "GELU on {device} is its tanh form, off by {erf:.1e}, though torch-npu {version} has the exact one on",
            device=label,
            erf=erf,
            version=versions.get("torch-npu"),
        )


def _owes_the_exact(gelu: GeluFigures, versions: Mapping[str, Any]) -> bool:
    """Whether torch-npu was asked for the exact GELU, in a release of which its maker tests that."""
    release = public(str(versions.get("torch-npu") or ""))
    return bool(gelu.switched) and parse(release) >= parse(GELU_TESTED_SINCE)


def of_load(parameters: int, stored: int) -> list[Message]:
    """What was loaded beside what the checkpoint's headers list."""
    if parameters == stored:
        return []
    return [_("{parameters:,} parameters loaded, {stored:,} in the checkpoint", parameters=parameters, stored=stored)]


def of_frontend(figures: FrontendFigures) -> Iterator[Message]:
    """Every measure of the worst recording beyond its limit; where a difference could not be taken, it is."""
    for what, measure in (("features", "max_abs"), ("features", "rel_l2"), ("resampled", "rel_l2")):
        value = getattr(figures, f"{what}_{measure}")
        limit = getattr(figures, f"{what}_{measure}_limit")
        if value is None or not value <= limit:
            yield _(
                "{what}: {name} differs by {measure} {value} > {limit:g}",
                what=what,
                name=getattr(figures, f"{what}_{measure}_worst"),
                measure=measure,
                value=value,
                limit=limit,
            )


def of_weights(figures: WeightsFigures) -> list[Message]:
    """Every tensor that is listed, then how many more there are."""
    texts: list[Message] = [_("{name} {what}", name=tensor.name, what=tensor.what) for tensor in figures.differing]
    texts += [_("{name} is on the device and not in the checkpoint", name=name) for name in figures.not_in_checkpoint]
    count = figures.differing_count + len(figures.not_in_checkpoint)
    return texts[:SHOWN] + ([_("and {count} more", count=count - SHOWN)] if count > SHOWN else [])


def of_shapes(figures: ShapesFigures) -> list[str]:
    """Components of another shape than the config implies, or with NaN or infinity."""
    return [problem for name, component in figures.components.items() if (problem := component.problem(name))]


def of_splice(figures: SpliceFigures) -> list[Message]:
    """Embeddings that are not, bit for bit, what belongs at their place."""
    problems: list[Message] = []
    if figures.max_abs_text != 0:
        problems.append(_("text embeddings differ by {difference}", difference=figures.max_abs_text))
    if figures.max_abs_audio != 0:
        problems.append(_("audio embeddings differ by {difference}", difference=figures.max_abs_audio))
    return problems


def of_generate(figures: GenerateFigures) -> list[Message]:
    """Decoding that does not repeat itself, is not greedy, or departs from an uncached pass."""
    problems: list[Message] = []
    if not figures.repeatable:
        problems.append(_("a second decoding gave other tokens"))
    if not figures.greedy:
        problems.append(_("a token was taken that is not the largest of its logits"))
    for step, error in enumerate(figures.cached_rel_l2):
        problem = _("holds NaN or infinity") if error is None else beyond("rel_l2", error, figures.cached_rel_l2_limit)
        if problem:
            text = _(
                "cached decoding departs from an uncached pass at token {step}: {problem}", step=step, problem=problem
            )
            return [*problems, text]
    return problems


def of_determinism(figures: DeterminismFigures) -> list[Message]:
    """The components that did not give the same bits."""
    differing = [f"{name} ({entry.rel_l2})" for name, entry in figures.components.items() if not entry.identical]
    if not differing:
        return []
    return [_("not the same bits in {runs} runs: {names}", runs=figures.runs, names=", ".join(differing))]


def of_parity(figures: ParityFigures) -> list[Message]:
    """Every component with all that is wrong with it."""
    return [
        _("{component}: {problem}", component=name, problem=reduce(_and, problems))
        for name, entry in figures.components.items()
        if (problems := of_component(entry))
    ]


def of_component(entry: AgreementFigures, limits: Mapping[str, float] | None = None) -> Sequence[str]:
    """What is wrong with one component: as it was measured, or judged anew by other `limits`."""
    if entry.problems and limits is None:
        return entry.problems
    return judge(entry, Limits(entry.limits if limits is None else limits, entry.limit_source))


def _and(one: str, other: str) -> str:
    """Two problems of one component."""
    return _("{one}, {other}", one=one, other=other)


def of_layers(figures: LayersFigures) -> list[str]:
    """Why the layers are not as expected, the name of the first departure before anything else."""
    passes = (figures.isolated, figures.end_to_end)
    bounds = {point.name: point.expected.rel_l2 for each in passes for point in each.closest}
    return [*of_isolated(figures.isolated), *of_end_to_end(figures.end_to_end), *boundless(bounds)]


def boundless(bounds: Mapping[str, float]) -> Iterator[Message]:
    """Bounds of rel_l2 within which a tensor of zeros is: nothing is verified by them."""
    for name, bound in bounds.items():
        if bound >= ZEROS:
            yield _("{point}: within its bound, {bound:.2g}, zeros would pass", point=name, bound=bound)


def of_isolated(figures: PassFigures) -> list[Message]:
    """Of the pass in which every layer is fed the reference's input."""
    first, more = figures.first_departure, figures.beyond - 1
    texts = []
    if first is not None and more:
        texts.append(
            _(
                "first departure of layers fed the reference's input: {problem}, and {more} points after it",
                problem=first.problem,
                more=more,
            )
        )
    elif first is not None:
        texts.append(_("first departure of layers fed the reference's input: {problem}", problem=first.problem))
    return texts + _missing(figures)


def of_end_to_end(figures: PassFigures) -> list[Message]:
    """Of the library's pass as it is."""
    first, more = figures.first_departure, figures.beyond - 1
    texts = []
    if first is not None and more:
        texts.append(
            _("first departure end to end: {problem}, and {more} points after it", problem=first.problem, more=more)
        )
    elif first is not None:
        texts.append(_("first departure end to end: {problem}", problem=first.problem))
    return texts + _missing(figures)


def _missing(figures: PassFigures) -> list[Message]:
    if not figures.missing:
        return []
    count = len(figures.missing)
    return [_("the device never computed {point} ({count} points)", point=figures.missing[0], count=count)]


def of_tokens(figures: TokensFigures) -> list[str]:
    """Every wrong token, every step whose scores are out of bound."""
    texts: list[str] = [*boundless({_("the scores"): figures.expected.rel_l2})]
    for number, free in enumerate(figures.free):
        texts += [_in_row(number, problem) for problem in free.problems(figures.expected.rel_l2)]
    for number, forced in enumerate(figures.forced):
        texts += [_in_row(number, problem) for problem in forced.problems()]
    if not figures.forced_scores.finite:
        texts.append(_("scores hold NaN or infinity"))
    return texts


def _in_row(number: int, problem: Message) -> Message:
    return _("row {row}: {problem}", row=number, problem=problem)


def of_configurations(figures: ConfigurationsFigures) -> list[Message]:
    """Every configuration beyond its limit."""
    return [row.summary for row in figures.rows if row.limit is not None and not row.within]


def of_repeatability(figures: RepeatabilityFigures) -> list[str]:
    """What was not the same, the layer named."""
    texts: list[str] = [*_repeats(figures.repeats), *_repeats(figures.repeats_sharp, sharp=True)]
    cold = [name for name, identical in figures.warm.items() if not identical]
    if cold:
        texts.append(_("not the bits of the first run of this process: {names}", names=", ".join(cold)))
    if figures.process.first_difference:
        texts.append(_("another process gives other bits: {point}", point=figures.process.first_difference))
    error, limit = figures.batch.logits_rel_l2, figures.batch.limit
    if error is None or error > limit:
        texts.append(
            _(
                "rows of one batch with the same inputs differ by {error}, beyond noise ({limit:.1e})",
                error=error,
                limit=limit,
            )
        )
    return texts


def _repeats(figures: RepeatsFigures, *, sharp: bool = False) -> Iterator[Message]:
    first = figures.first_difference
    if first is None:
        return
    fields = {"differing": figures.differing, "runs": figures.runs, "run": first.run, "point": first.name}
    if sharp:
        yield _("{differing} of {runs} runs differ (float32), the first in run {run}: {point}", **fields)
    else:
        yield _("{differing} of {runs} runs differ, the first in run {run}: {point}", **fields)


def of_soak(figures: SoakFigures) -> list[Message]:
    """Rounds that gave other bits, and errors of the card's memory meanwhile."""
    problems = of_card(figures.card)
    if not figures.mismatches:
        return problems
    first = figures.listed[0] if figures.listed else None
    return [
        *problems,
        _(
            "{mismatches} of {rounds} rounds in {minutes:.1f} minutes differ, the first in round {round}: {point}",
            mismatches=figures.mismatches,
            rounds=figures.rounds,
            minutes=figures.seconds / 60,
            round=first.round if first else 0,
            point=first.first if first else "",
        ),
    ]


def of_copies(rows: Iterable[CopyFigures]) -> list[Message]:
    """Copies between host and device that did not arrive whole."""
    return [
        _(
            "bytes changed while {bytes} were copied ({direction}, {memory})",
            bytes=row.bytes,
            direction=row.direction,
            memory=row.memory or _("on the device"),
        )
        for row in rows
        if not row.exact
    ]


def of_stress(figures: StressFigures) -> list[Message]:
    """Wrong bits under stress, a voltage that was not restored, and errors of the card's memory meanwhile."""
    problems = of_card(figures.card)
    if figures.result == "faulty":
        problems.append(_("the vendor's test found the card computing wrong (code {code})", code=figures.code))
    if figures.result == "voltage":
        problems.append(_("the card's voltage was not restored after the vendor's test: reboot before it is used"))
    return problems


def of_card(figures: CardFigures | None) -> list[Message]:
    """Memory that gave wrong values while a check ran, by the card's own count."""
    if figures is None or figures.errors_before is None or figures.errors_after is None:
        return []
    more = figures.errors_after.double_bit - figures.errors_before.double_bit
    if more <= 0:
        return []
    return [_("{count} double-bit errors of the card's memory meanwhile ({tool})", count=more, tool=figures.tool)]
