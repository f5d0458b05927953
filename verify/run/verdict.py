"""From a run's evidence to its verdict: one word, what qualifies it, one line, one exit code. Pure, and free of torch.

`verified` stands only where every planned check passed on the run's device. What weakens that claim (an emulated
device, stand-in weights, substituted versions, a skip) is part of the line, and no option hides it.

A verification of a speech model ends in words. A checkpoint that cannot hear, because the files of its processor are
missing, is not verified, however well its layers compute: its front end never ran, so to name the skip is not enough.
A stand-in may skip `speech`: random weights have nothing to say, and the line already claims nothing of the published
ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce

from env.errors import VerificationFailedError, VerificationIncompleteError
from env.language import Language, Message, _, translate
from env.options import SETUP_FILE
from verify.run.plan import CHECKS
from verify.run.records import RUN_FILE, Evidence, Record, Status
from verify.run.text import one_line
from verify.run.used import as_loaded, device_used, is_npu, is_on, is_split, same_device

OWN_WEIGHTS = ("sharp",)  # runs on the bundled small checkpoint, whichever the run is of
NEEDS_TRAINING = ("speech",)  # a stand-in may skip it
REASON_WIDTH = 160  # characters of a reason's first line that the verdict line repeats; the document holds all of it


class Word(str, Enum):
    """The verdict in one word, worst first."""

    FAILED = "failed"  # a check, or setup, ran and failed
    NOT_VERIFIED = "not verified"  # nothing ran
    INCOMPLETE = "incomplete"  # nothing failed, but something broke, was stopped, left out, or cannot be read
    VERIFIED = "verified"


class Caveat(str, Enum):
    """What weakens or withholds the word, in the order of the line."""

    EMULATED = "EMULATED"
    STAND_IN = "stand-in weights"
    SUBSTITUTED = "substituted versions"
    TANH_GELU = "GELU by tanh"
    OTHER_DEVICE = "not on the asked device"
    OTHER_WEIGHTS = "not on the checkpoint"
    WEIGHTS_UNKNOWN = "weights not identified"
    DEVICE_UNKNOWN = "device not identified"
    SETUP = "setup did not succeed"
    NEVER_STARTED = "verification never started"
    DAMAGED = "damaged"
    SKIPPED_ESSENTIAL = "essential check skipped"
    LEFT_OUT = "not part of this run"
    BEYOND_REFERENCE = "other times than the reference"


QUALIFIERS = (Caveat.EMULATED, Caveat.STAND_IN, Caveat.SUBSTITUTED)  # these stand in brackets behind the word

# The texts of Word, Caveat and Status, where the extraction of messages sees them.
TERMS = (
    _("failed"),
    _("not verified"),
    _("incomplete"),
    _("verified"),
    _("EMULATED"),
    _("stand-in weights"),
    _("substituted versions"),
    _("GELU by tanh"),
    _("not on the asked device"),
    _("not on the checkpoint"),
    _("weights not identified"),
    _("device not identified"),
    _("setup did not succeed"),
    _("verification never started"),
    _("damaged"),
    _("essential check skipped"),
    _("not part of this run"),
    _("other times than the reference"),
    _("pass"),
    _("fail"),
    _("error"),
    _("skip"),
    _("not-run"),
)


@dataclass(frozen=True)
class Note:
    """One caveat with its detail, and the best word that it leaves possible."""

    caveat: Caveat
    detail: str = ""
    leaves: Word = Word.VERIFIED


@dataclass(frozen=True)
class Judged:
    """One check of the run: planned, recorded, or both."""

    check: str
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Choice:
    """What was used, and what the run's option named: a device or a dtype."""

    used: str | None
    requested: str | None

    def line(self, language: Language) -> str | None:
        """`npu:0`; `cpu (auto)`; `cpu (npu:0 asked)`; `npu:0 asked` where nothing was used."""
        if self.used is None and self.requested in (None, "auto"):
            return None
        requested = _("{device} asked", device=self.requested)
        if self.used is None:
            return translate(requested, language)
        if self.requested is None or same_device(self.used, self.requested):
            return self.used
        return translate(remarked(self.used, ["auto" if self.requested == "auto" else requested]), language)


def exit_code(word: Word) -> int:
    """0 verified; else that of VerificationFailedError or VerificationIncompleteError."""
    if word is Word.VERIFIED:
        return 0
    return (VerificationFailedError if word is Word.FAILED else VerificationIncompleteError).exit_code


@dataclass(frozen=True)
class Verdict:
    """What a run comes to."""

    word: Word
    notes: tuple[Note, ...]
    checks: tuple[Judged, ...]
    device: Choice
    dtype: Choice
    level: int | None

    @property
    def exit_code(self) -> int:
        """0 verified; else that of VerificationFailedError or VerificationIncompleteError."""
        return exit_code(self.word)

    def headline(self, language: Language = "en") -> str:
        """The word with its qualifiers: `verified (stand-in weights)`."""
        return translate(remarked(Message(self.word.value), self.qualifiers), language)

    @property
    def qualifiers(self) -> list[Message]:
        """What stands in brackets behind the word: the names of what weakens it."""
        return [Message(note.caveat.value) for note in self.notes if note.caveat in QUALIFIERS]

    def line(self, language: Language = "en") -> str:
        """The verdict on one line, every failure, skip and missing check named.

        >>> judge(evidence).line()
        'verified (stand-in weights) · cpu (auto) · float32 · level 2 · 12 pass, 1 skip (benchmark: 0 rounds)'
        """
        level = "" if self.level is None else translate(_("level {level}", level=self.level), language)
        parts = [self.headline(language), self.device.line(language), self.dtype.line(language), level]
        parts.append(self._tally(language))
        for note in self.notes:
            if note.caveat not in QUALIFIERS:
                parts.append(_with_reason(translate(note.caveat.value, language), note.detail, language))
        return " · ".join(one_line(part) for part in parts if part)

    def _tally(self, language: Language) -> str:
        """How many checks ended in which way: `12 pass, 1 skip (benchmark: 0 rounds)`."""
        counts = []
        for status in Status:
            judged = [j for j in self.checks if j.status is status]
            named = [] if status is Status.PASS else [_with_reason(j.check, j.reason, language) for j in judged]
            if judged:
                count = _("{n} {status}", n=len(judged), status=Message(status.value))
                counts.append(remarked(count, named))
        return translate(_listed(counts), language)


def _listed(texts: Sequence[str]) -> str:
    """Texts with commas between them, those of the language."""
    return reduce(lambda one, other: _("{one}, {other}", one=one, other=other), texts) if texts else ""


def remarked(text: str, remarks: Sequence[str]) -> str:
    """`text (remarks)`, where there are any."""
    return _("{text} ({remark})", text=text, remark=_listed(remarks)) if remarks else text


def _with_reason(name: str, reason: str, language: Language) -> str:
    """`name: reason`, of the reason its first line, cut where it is long."""
    text = one_line(translate(reason, language).strip().partition("\n")[0])
    if len(text) > REASON_WIDTH:
        text = text[: REASON_WIDTH - 1] + "…"
    return f"{one_line(name)}: {text}" if text else one_line(name)


def judge(evidence: Evidence) -> Verdict:
    """The verdict on a run, from its evidence alone. Never raises, whatever the records hold."""
    checks = tuple(_judged(evidence))
    notes = tuple(sorted(_notes(evidence, checks), key=lambda note: list(Caveat).index(note.caveat)))
    run = evidence.run
    return Verdict(
        word=_word(checks, notes),
        notes=notes,
        checks=checks,
        device=_device_choice(evidence),
        dtype=Choice(_text(evidence.data("load").get("dtype")), run.dtype if run else None),
        level=run.level if run else None,
    )


def _device_choice(evidence: Evidence) -> Choice:
    used = device_used(evidence)
    requested = evidence.run.device if evidence.run else _text(evidence.setup_data.get("device"))
    if used and requested not in (None, "auto") and is_split(evidence) and is_on(used, requested):
        requested = used
    return Choice(used, requested)


def _judged(evidence: Evidence) -> Iterator[Judged]:
    """Planned checks in their order, then whatever else left a record, whole or damaged."""
    planned = evidence.run.planned if evidence.run else ()
    damaged = [name.removesuffix(".json") for name in evidence.damaged if name not in (RUN_FILE, SETUP_FILE)]
    for check in dict.fromkeys((*planned, *sorted({*evidence.records, *damaged}))):
        if check in evidence.records:
            yield Judged(check, evidence.records[check].status, evidence.records[check].reason)
        else:
            why = evidence.damaged.get(f"{check}.json")
            yield Judged(
                check, evidence.status(check), _("damaged record: {reason}", reason=why) if why is not None else ""
            )


def _word(checks: tuple[Judged, ...], notes: tuple[Note, ...]) -> Word:
    statuses = {judged.status for judged in checks}
    leaves = {note.leaves for note in notes}
    if Status.FAIL in statuses or Word.FAILED in leaves:
        return Word.FAILED
    if not statuses & {Status.PASS, Status.ERROR}:
        return Word.NOT_VERIFIED
    if statuses & {Status.ERROR, Status.NOT_RUN} or Word.INCOMPLETE in leaves:
        return Word.INCOMPLETE
    return Word.VERIFIED


def _notes(evidence: Evidence, checks: tuple[Judged, ...]) -> Iterator[Note]:
    yield from _substituted(evidence)
    yield from _setup_notes(evidence)
    for name in (RUN_FILE, SETUP_FILE):
        if name in evidence.damaged:
            yield Note(Caveat.DAMAGED, _("{file}: {reason}", file=name, reason=evidence.damaged[name]), Word.INCOMPLETE)
    if _emulated(evidence):
        yield Note(Caveat.EMULATED)
    yield from _gelu_notes(evidence)
    yield from _reference_notes(evidence)
    if evidence.run is None:
        if RUN_FILE not in evidence.damaged:
            yield Note(Caveat.NEVER_STARTED, leaves=Word.INCOMPLETE)
        return
    essential = [check.name for check in CHECKS if check.essential and check.level <= evidence.run.level]
    status = {judged.check: judged.status for judged in checks}
    may_skip = NEEDS_TRAINING if _is_stand_in(evidence) else ()
    skipped = [name for name in essential if status.get(name) is Status.SKIP and name not in may_skip]
    left_out = [name for name in essential if name not in status]
    if skipped:
        yield Note(Caveat.SKIPPED_ESSENTIAL, ", ".join(skipped), Word.INCOMPLETE)
    if left_out:
        yield Note(Caveat.LEFT_OUT, ", ".join(left_out), Word.INCOMPLETE)
    records = [evidence.records[name] for name in essential if name in evidence.records]
    yield from _weights_notes(evidence, records)
    yield from _device_notes(evidence, evidence.run.device, records)


def _substituted(evidence: Evidence) -> Iterator[Note]:
    """What setup installed in place of a pin, and what the running environment has in place of one."""
    lists = evidence.setup_data.get("apart"), evidence.data("packages").get("rows")
    pins = [pin for each in lists if isinstance(each, list) for pin in each if isinstance(pin, Mapping)]
    swapped = [
        _("{name} {version} for {pin}", name=pin.get("name"), version=pin.get("found"), pin=pin.get("asked"))
        for pin in pins
        if pin.get("substituted")
    ]
    if swapped:
        yield Note(Caveat.SUBSTITUTED, _listed(list(dict.fromkeys(swapped))))


def _gelu_notes(evidence: Evidence) -> Iterator[Note]:
    """A device without the published model's GELU was held to the model with the form that it has."""
    gelu = evidence.data("device").get("gelu")
    if isinstance(gelu, Mapping) and gelu.get("form") == "tanh":
        away = gelu.get("erf_error")
        if not isinstance(away, float):
            yield Note(Caveat.TANH_GELU, "")
        elif gelu.get("switched"):
            asked = _("up to {error:.1e} from the published model's, which torch-npu was asked for", error=away)
            yield Note(Caveat.TANH_GELU, asked)
        else:
            yield Note(Caveat.TANH_GELU, _("up to {error:.1e} from the published model's", error=away))


def _reference_notes(evidence: Evidence) -> Iterator[Note]:
    """Times outside the bounds of the chip's reference, on either side: another machine, state or condition."""
    beyond = evidence.data("benchmark").get("beyond_reference")
    if beyond:
        yield Note(Caveat.BEYOND_REFERENCE, _message(beyond))


def _setup_notes(evidence: Evidence) -> Iterator[Note]:
    if evidence.setup is None:
        return
    status = evidence.setup.get("status")
    if status != Status.PASS.value:
        leaves = Word.FAILED if status == Status.FAIL.value else Word.INCOMPLETE
        reason = evidence.setup.get("reason")
        yield Note(Caveat.SETUP, _message(reason) if reason else _("status {status}", status=status), leaves)


def _is_stand_in(evidence: Evidence) -> bool:
    model_dir = evidence.run.model_dir if evidence.run else ""
    return evidence.data("checkpoint").get("kind") == "stand-in" or model_dir.startswith("synthetic:")


def _weights_notes(evidence: Evidence, records: list[Record]) -> Iterator[Note]:
    kind = evidence.data("checkpoint").get("kind")
    passed = evidence.status("checkpoint") is Status.PASS  # where it did not, its own status says so
    changed = _changed_weights(records)
    if changed:
        yield Note(Caveat.OTHER_WEIGHTS, ", ".join(changed), Word.INCOMPLETE)
    if _is_stand_in(evidence):
        yield Note(Caveat.STAND_IN)
    elif kind == "checkpoint":
        ours = [record for record in records if record.check not in OWN_WEIGHTS]
        others = [r.check for r in ours if r.signature.get("weights_kind", kind) != kind]
        if others:
            yield Note(Caveat.OTHER_WEIGHTS, ", ".join(others), Word.INCOMPLETE)
    elif passed:
        yield Note(Caveat.WEIGHTS_UNKNOWN, leaves=Word.INCOMPLETE)


def _changed_weights(records: list[Record]) -> list[str]:
    """The checks whose weights were not those of the checks before them: a folder may be replaced between two calls."""
    first: dict[object, object] = {}
    changed = []
    for record in records:
        name, digest = (record.signature.get(field) for field in ("weights_name", "weights_sha256"))
        if digest is not None and record.check not in OWN_WEIGHTS and first.setdefault(name, digest) != digest:
            changed.append(record.check)
    return changed


def _device_notes(evidence: Evidence, requested: str, records: list[Record]) -> Iterator[Note]:
    """A pass counts on the run's device only: neither the device check nor another may have gone elsewhere."""
    used = device_used(evidence)
    if used is None:
        if evidence.status("device") is Status.PASS:
            yield Note(Caveat.DEVICE_UNKNOWN, leaves=Word.INCOMPLETE)
        return
    target = used if requested == "auto" else requested
    machine = evidence.data("machine")
    if requested == "auto" and machine.get("ascend_host") and not is_npu(used):
        yield Note(Caveat.OTHER_DEVICE, _("an NPU is in this machine, {used} used", used=used), Word.INCOMPLETE)
    split = is_split(evidence)
    if not (is_on(used, target) if split and target != used else same_device(used, target)):
        yield Note(Caveat.OTHER_DEVICE, _("{device} asked, {used} used", device=requested, used=used), Word.INCOMPLETE)
        return
    there = [r for r in records if isinstance(r.signature.get("device"), str)]
    load = evidence.records.get("load")
    elsewhere = [
        _("{check} on {device}", check=r.check, device=r.signature["device"])
        for r in there
        if not (as_loaded(r, load, used) if split else same_device(r.signature["device"], target))
    ]
    if elsewhere:
        yield Note(Caveat.OTHER_DEVICE, _listed(elsewhere), Word.INCOMPLETE)


def _emulated(evidence: Evidence) -> bool:
    return any(r.emulated for r in evidence.records.values()) or bool(evidence.data("device").get("emulated"))


def _message(value: object) -> str:
    """A reason of setup.json: a message, as read or as it is stored, or whatever stands there."""
    try:
        return value if isinstance(value, Message) else Message.from_json(value)
    except ValueError:
        return str(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
