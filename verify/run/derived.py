"""Bounds that a record brings along, made again: from its dtype and its noise, by the factors and margins that ship.

Error and bound may both be edited. So a record also holds the noise of ideal devices, and no bound may be wider than
bounds.py makes of it. Two checks of a run that had one reference must have one noise (`across`). What cannot be derived
from a run's files is the noise itself: it takes the weights. 0.1.0 recorded none; of its runs bounds are as recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from msgspec import UNSET, UnsetType

from env.language import Message, _
from verify.reference import bounds
from verify.reference.figures import Figures, NoiseFigures, PointFigures
from verify.run.figures.components import ParityFigures
from verify.run.figures.configurations import ConfigurationsFigures, Row
from verify.run.figures.layers import LayersFigures, PassFigures, StackFigures
from verify.run.figures.repeats import RepeatabilityFigures
from verify.run.figures.tokens import TokensFigures

WITHOUT_NOISE = "0.1.0"  # the version whose records hold no noise
ROUNDED = 0.0101  # of two figures with three digits: half a unit of the last of each
# One check may have been repeated with a reference from another machine: its sums are in another order, and a few
# roundings fall to the other side.
ELSEWHERE = 1.25
EXACT = 1e-9  # JSON keeps float64 whole
SCORES = "out of GraniteSpeechForConditionalGeneration"  # the kind of the logits' point
ENCODED, LOGITS = "encoder", "model"  # names of the points that are components as well
WHOLE = "end_to_end"
Known = float | UnsetType | None  # a noise, where a record has it
SAME_REFERENCE = ("dtype", "seed", "batch", "seq_len", "weights_sha256")  # of a signature


class Around(Protocol):
    """What contradiction.Around knows, as far as it matters here."""

    @property
    def noise_due(self) -> bool: ...  # whether the version of the run writes it

    @property
    def dtype(self) -> str | None: ...

    @property
    def arithmetic(self) -> str: ...


def of_pass(figures: PassFigures, mode: str, around: Around) -> Iterator[Message]:
    """Points whose bound is wider than their noise allows, and every point of the stack that is beyond its own."""
    if around.dtype is None:
        return
    for point in (*figures.departures, *figures.closest):
        if not _is_kind(point):
            yield _("{point} is no {kind}", point=point.name, kind=point.kind)
        elif (noise := _noise(point.noise, around)) is None:
            yield _without(point.name)
        elif noise is not UNSET:
            derived = bounds.bound(around.arithmetic, around.dtype, mode, point.kind, noise)
            yield from _wider(point.name, point.expected.rel_l2, derived.rel_l2)
            yield from _wider(point.name, point.expected.worst_element, derived.worst_element)
    if figures.stack is not None:
        yield from _of_stack(figures.stack, figures.points, mode, around)


def _of_stack(stack: StackFigures, points: int, mode: str, around: Around) -> Iterator[Message]:
    """Of a stack the kinds are not kept: its bounds are held to the largest factor of any."""
    noises = stack.noise
    lists = [stack.names, stack.rel_l2, stack.expected, stack.excess, *([] if noises is UNSET else [noises])]
    if {len(each) for each in lists} != {points}:
        yield _("{count} points, a list of another length", count=points)
        return
    for name, error, expected, excess in zip(stack.names, stack.rel_l2, stack.expected, stack.excess, strict=True):
        if error is None or excess is None or excess > 1 or error > expected * (1 + ROUNDED):
            yield _("{point} is beyond its bound", point=name)
    if noises is UNSET:
        if around.noise_due:
            yield _without(_("the stack"))
        return
    dtype = around.dtype or ""
    largest = max(float(rel) for rel, _worst in bounds.measured()[mode][dtype].values())
    times = largest * float(bounds.chosen()["margin"][mode][dtype])
    least = max(bounds.floor(around.arithmetic, mode, dtype), bounds.floor(around.arithmetic, WHOLE, dtype))
    for name, expected, noise in zip(stack.names, stack.expected, noises, strict=True):
        allowed = max(times * bounds.least(dtype, (noise, noise))[0], least)
        yield from _wider(name, expected, allowed, within=ROUNDED)


def _is_kind(point: PointFigures) -> bool:
    """Whether the row of bounds.toml is one of such a point's, as hooks.Point names both."""
    if not point.kind.startswith(f"{point.edge} "):
        return False
    if point.edge != "into":
        return " > " not in point.kind
    child = point.name.rpartition(" > ")[2]
    return point.kind.rpartition(" > ")[2] == ".".join("N" if part.isdigit() else part for part in child.split("."))


def of_tokens(figures: TokensFigures, around: Around) -> Iterator[Message]:
    """A bound of the scores that is wider than their noise allows."""
    if around.dtype is None:
        return
    noise = _noise(figures.noise, around)
    if noise is None:
        yield _without(_("the scores"))
    elif noise is not UNSET:
        derived = bounds.bound(around.arithmetic, around.dtype, WHOLE, SCORES, noise)
        yield from _wider(_("the scores"), figures.expected.rel_l2, derived.rel_l2)
        yield from _wider(_("the scores"), figures.expected.worst_element, derived.worst_element)


def of_batch(figures: RepeatabilityFigures, around: Around) -> Iterator[Message]:
    """A limit on rows of one batch that is wider than twice the bound of a decoding step."""
    if around.dtype is None:
        return
    noise = figures.batch.noise
    if noise is not UNSET:
        derived = bounds.bound(around.arithmetic, around.dtype, WHOLE, SCORES, (noise, noise)).rel_l2
        yield from _wider(_("rows of one batch"), figures.batch.limit, 2 * derived)
    elif around.noise_due:
        yield _without(_("rows of one batch"))


def of_configurations(figures: ConfigurationsFigures, around: Around) -> Iterator[Message]:
    """Rows whose limit is wider than the noise allows, or that have none and should."""
    dtype = around.dtype
    if dtype is None:
        return
    if figures.noise is UNSET or figures.scores_noise is UNSET:
        if around.noise_due:
            yield _without(_("configurations"))
        return
    for row in figures.rows:
        if row.limit is None:
            if not _is_free(row):
                yield _("{group}, {name} has no limit", group=row.group, name=row.name)
        else:
            allowed = _allowed(row, figures, dtype, around.arithmetic)
            yield from _wider(_("{group}, {name}", group=row.group, name=row.name), row.limit, allowed)


def _is_free(row: Row) -> bool:
    """What is reported and not judged: what padding does to the shorter row, and HF32 where it is on."""
    return (row.group, row.name) in (("batch", "the padded row"), ("HF32", "conv.allow_hf32 = True"))


def _allowed(row: Row, figures: ConfigurationsFigures, dtype: str, arithmetic: str) -> float:
    """The widest limit that a row may have; none where its noise is missing."""
    noises = figures.noise if isinstance(figures.noise, dict) else {}

    def whole(of: str, noise: Known, measure: str = "rel_l2") -> float:
        if not isinstance(noise, (int, float)) or of not in bounds.UNIT_ROUNDOFF:
            return 0.0
        return bounds.limits(arithmetic, of, WHOLE, (noise, noise), classes=True).values[measure]

    own = figures.own_dtype if isinstance(figures.own_dtype, str) else ""
    if row.measure == "regret":
        return whole(own, figures.own_noise, "top1_regret")
    if row.against != "float64 on CPU":
        return 2 * max(whole(dtype, noises.get(dtype)), whole(own, figures.own_noise))
    if row.group == "cache" and isinstance(figures.scores_noise, (int, float)):
        noise = figures.scores_noise
        return bounds.bound(arithmetic, dtype, WHOLE, SCORES, (noise, noise)).rel_l2
    if row.group == "dtype":
        return whole(row.name, noises.get(row.name))
    return whole(dtype, noises.get(dtype))


def across(
    figures: Mapping[str, Figures], signatures: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Message]]:
    """Checks (by name) whose noise is not that of another check of the run with the same weights, inputs and dtype."""
    for one, other, mine, theirs in _shared(figures):
        same = all(signatures[one].get(field) == signatures[other].get(field) for field in SAME_REFERENCE)
        if not same or not isinstance(mine, (int, float)) or not isinstance(theirs, (int, float)):
            continue
        if max(mine, theirs) > ELSEWHERE * min(mine, theirs):
            problem = _("a noise of {one:.3g}, {other:.3g} in {check}", one=theirs, other=mine, check=one)
            yield other, problem


def _shared(figures: Mapping[str, Figures]) -> Iterator[tuple[str, str, Known, Known]]:
    """Two checks and the noise of one and the same point in each."""
    parity, layers, sharp = (figures.get(name) for name in ("parity", "layers", "sharp"))
    tokens, again, rows = (figures.get(name) for name in ("tokens", "repeatability", "configurations"))
    if isinstance(parity, ParityFigures):
        of = {name: entry.noise for name, entry in parity.components.items()}
        if isinstance(layers, LayersFigures):
            yield "parity", "layers", of.get(ENCODED), _in_stack(layers, ENCODED)
            yield "parity", "layers", of.get(WHOLE), _in_stack(layers, LOGITS)
    if isinstance(rows, ConfigurationsFigures) and isinstance(sharp, LayersFigures) and isinstance(rows.noise, dict):
        yield "sharp", "configurations", _in_stack(sharp, LOGITS), rows.noise.get("float32")
    if isinstance(tokens, TokensFigures) and isinstance(again, RepeatabilityFigures) and tokens.noise is not UNSET:
        yield "tokens", "repeatability", tokens.noise.rel_l2, again.batch.noise


def _in_stack(figures: LayersFigures, point: str) -> float | None:
    """The noise of a point end to end, three digits; of a layer that runs twice the first."""
    stack = figures.end_to_end.stack
    if stack is None or stack.noise is UNSET:
        return None
    return dict(zip(reversed(stack.names), reversed(stack.noise), strict=False)).get(point)


def _noise(figures: NoiseFigures | UnsetType, around: Around) -> tuple[float, float] | UnsetType | None:
    """The noise; UNSET where there need be none, None where there should be."""
    if figures is not UNSET:
        return figures.rel_l2, figures.worst_element
    return None if around.noise_due else UNSET


def _without(what: str) -> Message:
    return _("{what}: a bound without the noise that it is made of", what=what)


def _wider(what: str, recorded: float, derived: float, within: float = EXACT) -> Iterator[Message]:
    if recorded > derived * (1 + within):
        yield _(
            "{what}: its bound is {recorded:.3g}, {derived:.3g} follows from its noise",
            what=what,
            recorded=recorded,
            derived=derived,
        )
