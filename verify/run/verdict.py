"""From a run's evidence to its verdict: one word, what qualifies it, one line, one exit code. Pure, and free of torch.

`verified` is said only where every planned check passed on the asked device. What weakens that claim (an emulated
device, stand-in weights, substituted versions, a skip) is part of the line, and no option hides it.

A verification of a speech model ends in words. A checkpoint that cannot hear, because the files of its processor are
missing, is not verified, however well its layers compute: its front end never ran, so to name the skip is not enough.
A stand-in may skip `speech`: random weights have nothing to say, and the line already claims nothing of the published
ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from env.device_name import DeviceName
from env.errors import VerificationFailedError, VerificationIncompleteError
from env.options import SETUP_FILE
from verify.run.plan import CHECKS
from verify.run.records import RUN_FILE, Evidence, Record, Status
from verify.run.text import one_line

Language = Literal["en", "zh"]

OWN_WEIGHTS = ("sharp",)  # runs on the bundled small checkpoint, whichever was asked
NEEDS_TRAINING = ("speech",)  # a stand-in may skip it
REASON_WIDTH = 160  # characters of a reason's first line that the verdict line repeats; the document holds all of it


class Word(str, Enum):
    """The verdict in one word, worst first."""

    FAILED = "failed"  # a check, or setup, ran and failed
    NOT_VERIFIED = "not verified"  # nothing ran
    INCOMPLETE = "incomplete"  # nothing failed, but something broke, was stopped, left out, or cannot be read
    VERIFIED = "verified"


class Caveat(str, Enum):
    """What weakens or withholds the word, in the order in which it is said."""

    EMULATED = "EMULATED"
    STAND_IN = "stand-in weights"
    SUBSTITUTED = "substituted versions"
    OTHER_DEVICE = "not on the asked device"
    OTHER_WEIGHTS = "not on the checkpoint"
    WEIGHTS_UNKNOWN = "weights not identified"
    DEVICE_UNKNOWN = "device not identified"
    SETUP = "setup did not succeed"
    NEVER_STARTED = "verification never started"
    DAMAGED = "damaged"
    SKIPPED_ESSENTIAL = "essential check skipped"
    LEFT_OUT = "not part of this run"


QUALIFIERS = (Caveat.EMULATED, Caveat.STAND_IN, Caveat.SUBSTITUTED)  # these stand in brackets behind the word

CHINESE: Mapping[str, str] = {
    Word.FAILED: "验证失败",
    Word.NOT_VERIFIED: "未验证",
    Word.INCOMPLETE: "验证未完成",
    Word.VERIFIED: "验证通过",
    Caveat.EMULATED: "EMULATED 模拟设备",
    Caveat.STAND_IN: "替代权重",
    Caveat.SUBSTITUTED: "版本被替换",
    Caveat.OTHER_DEVICE: "未在指定设备上运行",
    Caveat.OTHER_WEIGHTS: "未使用指定权重",
    Caveat.WEIGHTS_UNKNOWN: "权重未确认",
    Caveat.DEVICE_UNKNOWN: "设备未确认",
    Caveat.SETUP: "环境搭建未成功",
    Caveat.NEVER_STARTED: "验证未启动",
    Caveat.DAMAGED: "文件损坏",
    Caveat.SKIPPED_ESSENTIAL: "必要检查被跳过",
    Caveat.LEFT_OUT: "本次运行未包含",
    Status.PASS: "通过",
    Status.FAIL: "失败",
    Status.ERROR: "出错",
    Status.SKIP: "跳过",
    Status.NOT_RUN: "未运行",
}


def in_language(word: Enum, language: Language) -> str:
    return str(word.value) if language == "en" else CHINESE[word.value]


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
    """What was used, and what was asked for: a device or a dtype."""

    used: str | None
    asked: str | None

    def said(self, language: Language) -> str | None:
        """`npu:0`; `cpu (auto)`; `cpu (npu:0 asked)`; `npu:0 asked` where nothing was used."""
        if self.used is None and self.asked == "auto":
            return None
        asked = None if self.asked is None else f"{self.asked} asked" if language == "en" else f"指定 {self.asked}"
        if self.used is None or self.asked is None or _same_device(self.used, self.asked):
            return self.used or asked
        return _bracketed(self.used, ["auto" if self.asked == "auto" else str(asked)], language)


@dataclass(frozen=True)
class Verdict:
    """What may be said of a run."""

    word: Word
    notes: tuple[Note, ...]
    checks: tuple[Judged, ...]
    device: Choice
    dtype: Choice
    level: int | None

    @property
    def exit_code(self) -> int:
        """0 verified; else that of VerificationFailedError or VerificationIncompleteError."""
        if self.word is Word.VERIFIED:
            return 0
        failed = self.word is Word.FAILED
        return (VerificationFailedError if failed else VerificationIncompleteError).exit_code

    def headline(self, language: Language = "en") -> str:
        """The word with its qualifiers: `verified (stand-in weights)`."""
        qualifiers = [in_language(n.caveat, language) for n in self.notes if n.caveat in QUALIFIERS]
        return _bracketed(in_language(self.word, language), qualifiers, language)

    def line(self, language: Language = "en") -> str:
        """The verdict on one line, every failure, skip and missing check named.

        >>> judge(evidence).line()
        'verified (stand-in weights) · cpu (auto) · float32 · level 2 · 12 pass, 1 skip (benchmark: 0 rounds asked)'
        """
        level = None if self.level is None else f"level {self.level}" if language == "en" else f"级别 {self.level}"
        parts = [
            self.headline(language),
            self.device.said(language),
            self.dtype.said(language),
            level,
            self._tally(language),
        ]
        for note in self.notes:
            if note.caveat not in QUALIFIERS:
                parts.append(_said(in_language(note.caveat, language), note.detail))
        return " · ".join(one_line(part) for part in parts if part)

    def _tally(self, language: Language) -> str:
        counted = []
        for status in Status:
            judged = [j for j in self.checks if j.status is status]
            if not judged:
                continue
            named = [] if status is Status.PASS else [_said(j.check, j.reason) for j in judged]
            counted.append(_bracketed(f"{len(judged)} {in_language(status, language)}", named, language))
        return (", " if language == "en" else "，").join(counted)


def _bracketed(text: str, inside: list[str], language: Language) -> str:
    if not inside:
        return text
    return f"{text} ({', '.join(inside)})" if language == "en" else f"{text}（{'，'.join(inside)}）"


def _said(name: str, reason: str) -> str:
    text = one_line(reason.strip().partition("\n")[0])
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
        device=Choice(device_used(evidence), run.device if run else _text(_setup_data(evidence).get("device"))),
        dtype=Choice(_text(_data(evidence, "load").get("dtype")), run.dtype if run else None),
        level=run.level if run else None,
    )


def device_used(evidence: Evidence) -> str | None:
    """The device that the device check found and computed on: "npu:0", "cpu"; None where it did not."""
    data = _data(evidence, "device")
    kind, index = _text(data.get("kind")), data.get("index")
    name = DeviceName.parse_or_none(kind)
    return name.card(index).label if name and isinstance(index, int) else kind


def _same_device(one: str, other: str) -> bool:
    """Whether two names mean one device: "npu" is "npu:0"."""
    first, second = DeviceName.parse_or_none(one), DeviceName.parse_or_none(other)
    return first.is_same(second) if first and second else one == other


def _is_npu(device: str) -> bool:
    name = DeviceName.parse_or_none(device)
    return name is not None and name.kind == "npu"


def _judged(evidence: Evidence) -> Iterator[Judged]:
    """Planned checks in their order, then whatever else left a record, whole or damaged."""
    planned = evidence.run.planned if evidence.run else ()
    damaged = [name.removesuffix(".json") for name in evidence.damaged if name not in (RUN_FILE, SETUP_FILE)]
    for check in dict.fromkeys((*planned, *sorted({*evidence.records, *damaged}))):
        if check in evidence.records:
            yield Judged(check, evidence.records[check].status, evidence.records[check].reason)
        else:
            why = evidence.damaged.get(f"{check}.json")
            yield Judged(check, evidence.status(check), f"damaged record: {why}" if why is not None else "")


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
            yield Note(Caveat.DAMAGED, f"{name}: {evidence.damaged[name]}", Word.INCOMPLETE)
    if _emulated(evidence):
        yield Note(Caveat.EMULATED)
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
    lists = _setup_data(evidence).get("apart"), _data(evidence, "packages").get("rows")
    pins = [pin for each in lists if isinstance(each, list) for pin in each if isinstance(pin, Mapping)]
    swapped = [f"{p.get('name')} {p.get('found')} for {p.get('asked')}" for p in pins if p.get("substituted")]
    if swapped:
        yield Note(Caveat.SUBSTITUTED, ", ".join(dict.fromkeys(swapped)))


def _setup_notes(evidence: Evidence) -> Iterator[Note]:
    if evidence.setup is None:
        return
    status = evidence.setup.get("status")
    if status != Status.PASS.value:
        leaves = Word.FAILED if status == Status.FAIL.value else Word.INCOMPLETE
        yield Note(Caveat.SETUP, str(evidence.setup.get("reason") or f"status {status}"), leaves)


def _is_stand_in(evidence: Evidence) -> bool:
    asked = evidence.run.model_dir if evidence.run else ""
    return _data(evidence, "checkpoint").get("kind") == "stand-in" or asked.startswith("synthetic:")


def _weights_notes(evidence: Evidence, records: list[Record]) -> Iterator[Note]:
    kind = _data(evidence, "checkpoint").get("kind")
    passed = evidence.status("checkpoint") is Status.PASS  # where it did not, its own status says so
    if _is_stand_in(evidence):
        yield Note(Caveat.STAND_IN)
    elif kind == "checkpoint":
        ours = [record for record in records if record.check not in OWN_WEIGHTS]
        others = [r.check for r in ours if r.signature.get("weights_kind", kind) != kind]
        if others:
            yield Note(Caveat.OTHER_WEIGHTS, ", ".join(others), Word.INCOMPLETE)
    elif passed:
        yield Note(Caveat.WEIGHTS_UNKNOWN, leaves=Word.INCOMPLETE)


def _device_notes(evidence: Evidence, asked: str, records: list[Record]) -> Iterator[Note]:
    """A pass counts on the asked device only: neither the device check nor another may have gone elsewhere."""
    used = device_used(evidence)
    if used is None:
        if evidence.status("device") is Status.PASS:
            yield Note(Caveat.DEVICE_UNKNOWN, leaves=Word.INCOMPLETE)
        return
    target = used if asked == "auto" else asked
    machine = _data(evidence, "machine")
    if asked == "auto" and machine.get("ascend_host") and not _is_npu(used):
        yield Note(Caveat.OTHER_DEVICE, f"an NPU is in this machine, {used} used", Word.INCOMPLETE)
    if not _same_device(used, target):
        yield Note(Caveat.OTHER_DEVICE, f"{asked} asked, {used} used", Word.INCOMPLETE)
        return
    elsewhere = [
        f"{r.check} on {r.signature['device']}"
        for r in records
        if isinstance(r.signature.get("device"), str) and not _same_device(r.signature["device"], target)
    ]
    if elsewhere:
        yield Note(Caveat.OTHER_DEVICE, ", ".join(elsewhere), Word.INCOMPLETE)


def _emulated(evidence: Evidence) -> bool:
    return any(r.emulated for r in evidence.records.values()) or bool(_data(evidence, "device").get("emulated"))


def _data(evidence: Evidence, check: str) -> Mapping[str, Any]:
    return evidence.records[check].data if check in evidence.records else {}


def _setup_data(evidence: Evidence) -> Mapping[str, Any]:
    data = evidence.setup.get("data") if evidence.setup else None
    return data if isinstance(data, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
