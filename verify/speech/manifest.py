"""Evaluation manifests: JSONL in the field's convention, one utterance a line.

{"audio_filepath": "clips/a.flac", "duration": 1.5, "text": "...", "lang": "de", "taskname": "...", "target_lang": "en"}

A line that cannot be used is named with its reason; the others are evaluated.
"""

from __future__ import annotations

import codecs
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env import elsewhere
from env.errors import InputError, UsageError
from env.language import Message, _
from model import prompts

# How manifests in use name the two tasks (NeMo's canary manifests: asr, ast, s2t_translation).
TASK_NAMES = {
    "asr": "transcribe",
    "transcribe": "transcribe",
    "transcription": "transcribe",
    "ast": "translate",
    "translate": "translate",
    "translation": "translate",
    "s2t_translation": "translate",
}


MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest. `key` names it across machines: the path as written, and the target of a translation.

    `path` is absolute; `duration` is in seconds, None where the manifest does not give it.
    """

    key: str
    audio: str
    path: Path
    duration: float | None
    text: str
    language: str
    task: str
    target: str | None


class UnusableLineError(Exception):
    """A line is no utterance; `reason` is a message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Problem:
    """A line that is left out, and why. `reason` is a message."""

    line: int
    reason: str


@dataclass(frozen=True)
class Manifest:
    path: Path
    utterances: tuple[Utterance, ...]
    problems: tuple[Problem, ...]


def read(path: Path) -> Manifest:
    """Read a manifest. Relative paths of audio are relative to the folder of the manifest.

    Raises:
        InputError: the file cannot be read, or has no usable line.
    """
    utterances: dict[str, tuple[int, Utterance]] = {}
    folder = path.parent.resolve()  # once: of every line it would take a minute of 300,000
    problems: list[Problem] = []
    # Not splitlines: a text may hold U+2028 and its like, which JSON allows inside a string.
    for number, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            utterance = _utterance(text, folder)
            if utterance.key in utterances:
                first = utterances[utterance.key][0]
                raise UnusableLineError(_("repeats line {line}: {key}", line=first, key=utterance.key))
        except UnusableLineError as error:
            problems.append(Problem(number, error.reason))
            if len(problems) > MOST_PROBLEMS and not utterances:
                break  # it is no manifest, and every line would say so
        else:
            utterances[utterance.key] = (number, utterance)
    if not utterances:
        why = (
            _("line {line}: {reason}", line=problems[0].line, reason=problems[0].reason)
            if problems
            else _("it is empty")
        )
        raise InputError(_("{path}: has no usable line", path=path), why=why, next=f"head -n 3 {path}")
    return Manifest(path, tuple(utterance for _line, utterance in utterances.values()), tuple(problems))


def _text(path: Path) -> str:
    try:
        data = elsewhere.read_bytes(path, "manifest")
    except OSError as error:
        raise InputError(
            _("{path}: cannot be read: {reason}", path=path, reason=error.strerror), next=f"ls -l {path}"
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(
            _("{path}: is UTF-16, a manifest is UTF-8", path=path),
            next=f"iconv -f UTF-16 -t UTF-8 {path} > {path.stem}.utf8.jsonl",
        )
    # A damaged byte spoils its own line only: it becomes a character that no field may hold.
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _utterance(text: str, folder: Path) -> Utterance:
    """One line's utterance.

    Raises:
        UnusableLineError: with what is wrong with it.
    """
    try:
        row = elsewhere.parse_json(text, constant=float, surrogates=True)
    except elsewhere.BadJsonError as error:
        raise UnusableLineError(_("is not JSON: {error}", error=error.problem)) from error
    if not isinstance(row, dict):
        raise UnusableLineError(_("is not a JSON object but {type}", type=type(row).__name__))
    audio = _string(row, "audio_filepath")
    if not audio.strip() or "\0" in audio:
        raise UnusableLineError(_("audio_filepath is {value}", value=repr(audio)))
    language = _string(row, "lang" if "lang" in row else "source_lang").lower()
    task, target = _task(row, language)
    key = audio if target is None else f"{audio} > {target}"
    path = Path(os.path.join(folder, audio))  # noqa: PTH118 (twice as fast)
    return Utterance(key, audio, path, _duration(row), _string(row, "text"), language, task, target)


def _string(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        raise UnusableLineError(_("has no {name}", name="lang" if name == "source_lang" else name))
    value = row[name]
    if not isinstance(value, str):
        raise UnusableLineError(_("{name} is {value}, not a text", name=name, value=json.dumps(value)))
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnusableLineError(_("{name} is not valid UTF-8", name=name)) from error
    return value


def _duration(row: Mapping[str, Any]) -> float | None:
    value = row.get("duration")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise UnusableLineError(_("duration is {value}, not a number of seconds", value=repr(value)))
    return float(value)


def _task(row: Mapping[str, Any], language: str) -> tuple[str, str | None]:
    """The task and the target language, checked against what the model was trained for."""
    name = _string(row, "taskname").lower() if row.get("taskname") is not None else "asr"
    if name not in TASK_NAMES:
        raise UnusableLineError(
            _("taskname is {name}, not one of {names}", name=repr(name), names=", ".join(TASK_NAMES))
        )
    target = _string(row, "target_lang").lower() if row.get("target_lang") is not None else None
    task = TASK_NAMES[name]
    if task == "transcribe":
        if target not in (None, language):
            raise UnusableLineError(
                _(
                    "target_lang is {target}, but taskname is {name}: a transcript is in the speech's language",
                    target=target,
                    name=name,
                )
            )
        target = None
    if task == "translate" and target == language and language in prompts.spoken():
        raise UnusableLineError(_("lang and target_lang are both {target}", target=target))
    try:
        return task, prompts.build(task, language=language, target=target).target
    except UsageError as error:
        raise UnusableLineError(_as_fields(error.what)) from error


def _as_fields(what: str) -> str:
    """A message about an option, whose name is among its fields, as one about a field of manifests."""
    if not isinstance(what, Message):
        return what
    names = {"--language": "lang", "--target": "target_lang"}
    return Message(what.template, **{key: names.get(str(value), value) for key, value in what.fields.items()})
