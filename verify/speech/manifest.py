"""Evaluation manifests: recordings, or pieces of them, with their texts, in the conventions of the field.

{"audio_filepath": "clips/a.flac", "duration": 1.5, "text": "...", "lang": "de", "taskname": "...", "target_lang": "en"}

What else is read, and under which names, is data: manifest_fields.toml. A row that cannot be used is named with its
reason; the others are evaluated. One without a text is transcribed and in no score.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from env.errors import InputError, UsageError
from env.language import Message, _, joined
from env.toml import load_toml
from model import files, prompts
from model.pieces import WHOLE, Piece
from model.prompts import language_code
from verify.speech import manifest_rows
from verify.speech.manifest_folders import Row, UnusableLineError, likeness

UNDETERMINED = "und"  # ISO 639-2, of a recording without text whose language nobody named
HOPELESS = 10_000  # unusable rows before the first usable one: it is no manifest
DISTINCT = 1000  # reasons that are kept apart; from there on one stands for all that are alike
SHOWN = 3  # rows named of each kind that is left out
# What may be done about a row that is left out, by the kind of its fault.
NEXT: Mapping[str, Message] = {
    "syntax": _("look at the line: it is no row of a manifest"),
    "audio": _("name the column of the audio: --columns audio=NAME"),
    "text": _("name the column of the text: --columns text=NAME"),
    "language": _("name the language of all: --language en; or its column: --columns language=NAME"),
    "unknown language": _("the model cannot take these languages: leave the lines out"),
    "number": _("correct the numbers: seconds, and channels counted from 0"),
    "task": _("correct taskname and target_lang, or name them for all: --task translate --target de"),
    "repeat": _("nothing, where they are the same; a segment of its own has an offset"),
    "address": _("fetch the recordings, and name the files"),
    "command": _("run the commands, write what they give to files, and name those in wav.scp"),
    "cut": _("lhotse makes plain cuts with files of their own: CutSet.trim_to_supervisions, CutSet.save_audios"),
}


@dataclass(frozen=True)
class Utterance:
    """One row of a manifest. `key` names it across machines: the path as written, its piece, the target language.

    `path` is absolute; `duration` is in seconds, None where the manifest does not give it; `text` is None where there
    is none; `punctuate` is the row's own word for it, None where it has none.
    """

    key: str
    audio: str
    path: Path
    duration: float | None
    text: str | None
    language: str
    task: str
    target: str | None
    piece: Piece = WHOLE
    punctuate: bool | None = None


@dataclass(frozen=True)
class Problem:
    """A row that is left out, and why. `reason` is a message, `kind` a key of NEXT."""

    line: int
    reason: str
    kind: str = "syntax"


@dataclass(frozen=True)
class Manifest:
    """`sha256` is that of the file as it lies on disk. `name` is what results are named by."""

    path: Path
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...]
    sha256: str = ""
    name: str = ""

    @property
    def missing(self) -> tuple[Utterance, ...]:
        """The utterances whose file is not there."""
        return tuple(utterance for utterance in self.utterances if not files.is_there(utterance.path))


@dataclass(frozen=True)
class Reading:
    """How a manifest is read: what holds for rows that do not say it, names of columns, and how many rows."""

    language: str | None = None
    task: str | None = None
    target: str | None = None
    channels: tuple[int, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None


def read(path: Path, how: Reading | None = None) -> Manifest:
    """Read a manifest. Relative paths of audio are relative to the folder of the manifest.

    Raises:
        InputError: the file cannot be read, or has no usable row.
    """
    how, here = how or Reading(), Path.cwd()
    source = manifest_rows.read(path)
    utterances: dict[str, tuple[int, Utterance]] = {}
    problems: list[Problem] = []
    alike: dict[tuple[str, str], str] = {}
    for row in source.rows:
        if how.limit is not None and len(utterances) >= how.limit:
            break
        try:
            utterance = _utterance(row, how, here)
            if utterance.key in utterances:
                first = utterances[utterance.key][0]
                raise UnusableLineError("repeat", _("repeats line {line}: {key}", line=first, key=utterance.key))
        except UnusableLineError as error:
            reason = error.reason if len(problems) < DISTINCT else alike.setdefault(likeness(error), error.reason)
            problems.append(Problem(row.line, reason, error.kind))
            if not utterances and len(problems) == HOPELESS:
                break
        else:
            utterances[utterance.key] = (row.line, utterance)
    if not utterances:
        raise _unusable(path, problems, source.show)
    kept = tuple(utterance for _line, utterance in utterances.values())
    return Manifest(path, kept, tuple(problems), source.sha256, Path(source.name).stem)


def _unusable(path: Path, problems: list[Problem], show: str) -> InputError:
    if not problems:
        return InputError(_("{path}: has no usable line", path=path), why=_("it is empty"), next=show)
    faults = [
        _("line {line}: {reason} ({count} like it)", line=problem.line, reason=problem.reason, count=len(group))
        for problem, group in ((group[0], group) for group in by_kind(problems))
    ]
    largest = max(by_kind(problems), key=len)[0]
    step = show if largest.kind == "syntax" else NEXT[largest.kind]
    return InputError(_("{path}: has no usable line", path=path), why=joined(*faults), next=step)


def by_kind(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Problems that are alike together, in the order of their first ones."""
    groups: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[likeness(problem)].append(problem)
    return list(groups.values())


def left_out(problems: Iterable[Problem]) -> list[Message]:
    """What is left out: for each kind how many rows, examples, and what may be done about it."""
    told = []
    for group in by_kind(problems):
        lines = ", ".join(str(problem.line) for problem in group[:SHOWN])
        fields = {"lines": lines, "reason": group[0].reason, "step": NEXT[group[0].kind], "count": len(group)}
        if len(group) == 1:
            told.append(_("line {lines} is left out: {reason}; next: {step}", **fields))
        elif len(group) <= SHOWN:
            told.append(_("{count} lines are left out ({lines}): {reason}; next: {step}", **fields))
        else:
            told.append(_("{count} lines are left out ({lines}, ...): {reason}; next: {step}", **fields))
    return told


@dataclass(frozen=True)
class _Field:
    keys: tuple[str, ...]
    translated: tuple[str, ...]
    folders: tuple[str, ...]
    blank: Mapping[str, frozenset[str]]
    blank_anywhere: frozenset[str]

    def none(self, key: str, value: object) -> bool:
        """Whether a value under a key says that there is none."""
        if not self.blank or not isinstance(value, str):
            return False
        word = value.strip().lower()
        return word in self.blank_anywhere or word in self.blank.get(key, frozenset())


@cache
def _tables() -> dict[str, Any]:
    return load_toml(Path(__file__).parent / "manifest_fields.toml")


@cache
def fields() -> dict[str, _Field]:
    """What each field may be called."""
    known = {}
    for row in _tables()["field"]:
        blank = {key: frozenset(words) for key, words in row.get("blank", {}).items()}
        names = (tuple(row["keys"]), tuple(row.get("translated", ())), tuple(row.get("folders", ())))
        known[row["name"]] = _Field(*names, blank, blank.get("*", frozenset()))
    return known


def _utterance(row: Row, how: Reading, here: Path) -> Utterance:
    """One row's utterance.

    Raises:
        UnusableLineError: with what is wrong with it.
    """
    if isinstance(row.value, UnusableLineError):
        raise row.value
    if not isinstance(row.value, Mapping):
        raise UnusableLineError("syntax", _("is not a JSON object but {type}", type=type(row.value).__name__))
    reader = _RowReader(row.value, how)
    audio = reader.audio()
    task, language, target = reader.task()
    text = reader.text(translated=task == "translate")
    if language is None:
        if text is not None:
            raise UnusableLineError("language", _("has no lang"))
        language = UNDETERMINED
    duration, offset = reader.seconds("duration"), reader.seconds("offset", least=0.0)
    channels = reader.channels()
    piece = Piece(channels=channels) if offset is None else Piece(offset, duration, channels)
    path = files.locate(audio, _folders(row.folder, here))
    return Utterance(
        _key(audio, piece, target), audio, path, duration, text, language, task, target, piece, reader.punctuate()
    )


@cache
def _folders(folder: Path, here: Path) -> tuple[Path, ...]:
    """Where relative paths of audio may lead: below the manifest's folder, else from the working one."""
    return (*((here / folder / below).resolve() for below in fields()["audio"].folders), here)


def _key(audio: str, piece: Piece, target: str | None) -> str:
    """The audio, where it is not the whole: from when and how long, which channels; and the target of a translation."""
    place = "" if piece.whole else f" @ {piece.start:g}" + ("" if piece.seconds is None else f"+{piece.seconds:g}")
    channels = "" if piece.channels is None else f" # {'+'.join(map(str, piece.channels))}"
    return f"{audio}{place}{channels}" + ("" if target is None else f" > {target}")


class _RowReader:
    """Reads the fields of one row; each method raises UnusableLineError."""

    def __init__(self, row: Mapping[str, Any], how: Reading) -> None:
        self.row = row
        self.how = how

    def value(self, name: str, keys: tuple[str, ...] | None = None) -> tuple[str, Any]:
        """The key that the row has for a field, and its value; the field's first key and None where it has none."""
        column = self.how.columns.get(name)
        own = fields()[name]
        names = (column,) if column is not None else keys or own.keys
        for key in names:
            value = self.row.get(key)
            if value is None and "." in key:
                value = _at(self.row, key)
            if value is None or own.none(key, value) or (name == "audio" and isinstance(value, Mapping)):
                continue
            return key, value
        return names[0], None

    def string(self, name: str, keys: tuple[str, ...] | None = None) -> str | None:
        return self.named(name, keys)[1]

    def named(self, name: str, keys: tuple[str, ...] | None = None) -> tuple[str, str | None]:
        """As `value`, of a field that is a text."""
        key, value = self.value(name, keys)
        if value is None:
            return key, None
        if not isinstance(value, str):
            kind = name if name in NEXT else "task"
            raise UnusableLineError(kind, _("{name} is {value}, not a text", name=key, value=repr(value)))
        try:
            value.isascii() or value.encode()
        except UnicodeEncodeError as error:
            raise UnusableLineError("syntax", _("{name} is not valid UTF-8", name=key)) from error
        return key, value

    def audio(self) -> str:
        key, audio = self.named("audio")
        if audio is None:
            raise UnusableLineError("audio", _("has no {name}; it has {keys}", name=key, keys=", ".join(self.row)))
        if not audio.strip() or "\0" in audio:
            raise UnusableLineError("audio", _("{name} is {value}", name=key, value=repr(audio)))
        if files.scheme(audio) is not None:
            raise UnusableLineError("address", _("{name} is an address: {value}", name=key, value=audio))
        return audio

    def text(self, *, translated: bool) -> str | None:
        """The text; of a translation the one in the other language, where the row has both."""
        names = fields()["text"]
        return self.string("text", (*names.translated, *names.keys) if translated else names.keys)

    def language(self) -> str | None:
        """The code of the speech's language; --language where the row has none."""
        written = self.string("language") or self.how.language
        return None if written is None else language_code(written)

    def seconds(self, name: str, least: float | None = None) -> float | None:
        key, value = self.value(name)
        if value is None:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (least is None and value == 0):
            raise UnusableLineError(
                "number", _("{name} is {value}, not a number of seconds", name=key, value=repr(value))
            )
        return float(value)

    def channels(self) -> tuple[int, ...] | None:
        key, value = self.value("channel")
        if value is None:
            return self.how.channels
        numbers = value if isinstance(value, list) else [value]
        if not numbers or not all(
            isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in numbers
        ):
            raise UnusableLineError("number", _("{name} is {value}, not a channel", name=key, value=repr(value)))
        return tuple(numbers)

    def punctuate(self) -> bool | None:
        key, value = self.value("punctuate")
        if value is None:
            return None
        known = _tables()["punctuation"]
        if str(value).lower() not in known:
            names = ", ".join(known)
            raise UnusableLineError(
                "task", _("{name} is {value}, not one of {names}", name=key, value=repr(value), names=names)
            )
        return bool(known[str(value).lower()])

    def task(self) -> tuple[str, str | None, str | None]:
        """The task, the speech's language and the target, checked against what the model was trained for."""
        key, named = self.value("task")
        language, target = self.language(), self.string("target")
        target = language_code(target) if target else None
        name = str(named).lower() if named is not None else self.how.task
        if name is None:
            name = "translate" if target not in (None, language) else "transcribe"
        names = _tables()["task_names"]
        if name not in names:
            raise UnusableLineError(
                "task", _("{name} is {value}, not one of {names}", name=key, value=repr(name), names=", ".join(names))
            )
        if names[name] == "transcribe":
            if target not in (None, language):
                text = _(
                    "target_lang is {target}, but taskname is {name}: a transcript is in the speech's language",
                    target=target,
                    name=name,
                )
                raise UnusableLineError("task", text)
            self._agree()
            target = None
        else:
            target = target or self.how.target
        if names[name] == "translate" and target is not None and target == language and language in prompts.spoken():
            raise UnusableLineError("task", _("lang and target_lang are both {target}", target=target))
        try:
            return names[name], language, _target(names[name], language, target)
        except UsageError as error:
            kind = "unknown language" if language not in (None, *prompts.spoken()) else "task"
            raise UnusableLineError(kind, _as_fields(error.what)) from error

    def _agree(self) -> None:
        """Refuse a transcription whose two languages contradict each other."""
        both = [(key, language_code(str(self.row[key]))) for key in ("lang", "source_lang") if self.row.get(key)]
        if len({code for _key, code in both}) > 1:
            reason = _("lang is {first}, source_lang is {second}", first=both[0][1], second=both[1][1])
            raise UnusableLineError("task", reason)


@lru_cache(maxsize=1024)
def _target(task: str, language: str | None, target: str | None) -> str | None:
    """The target that the model is asked for. Raises: UsageError, as `prompts.build`."""
    return prompts.build(task, language=language, target=target).target


def _at(row: Mapping[str, Any], key: str) -> Any:
    """The value under a key, or under the keys that dots divide."""
    if key in row:
        return row[key]
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _as_fields(what: str) -> str:
    """A message about an option, whose name is among its fields, as one about a field of manifests."""
    if not isinstance(what, Message):
        return what
    names = {"--language": "lang", "--target": "target_lang"}
    return Message(what.template, **{key: names.get(str(value), value) for key, value in what.fields.items()})
