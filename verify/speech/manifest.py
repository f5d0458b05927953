"""Evaluation manifests: JSONL in the field's convention, one utterance a line.

{"audio_filepath": "clips/a.flac", "duration": 1.5, "text": "...", "lang": "de", "taskname": "...", "target_lang": "en"}

A line that cannot be used is named with its reason; the others are evaluated.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.errors import InputError, UsageError
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


@dataclass(frozen=True)
class Problem:
    """A line that is left out, and why."""

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
    problems: list[Problem] = []
    # Not splitlines: a text may hold U+2028 and its like, which JSON allows inside a string.
    for number, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            utterance = _utterance(text, path.parent)
            if utterance.key in utterances:
                raise ValueError(f"repeats line {utterances[utterance.key][0]}: {utterance.key}")
        except ValueError as error:
            problems.append(Problem(number, str(error)))
        else:
            utterances[utterance.key] = (number, utterance)
    if not utterances:
        first = f"line {problems[0].line}: {problems[0].reason}" if problems else "it is empty"
        raise InputError(f"{path}: has no usable line", why=first, next=f"head -n 3 {path}")
    return Manifest(path, tuple(utterance for _, utterance in utterances.values()), tuple(problems))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", next=f"ls -l {path}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(
            f"{path}: is UTF-16, a manifest is UTF-8", next=f"iconv -f UTF-16 -t UTF-8 {path} > {path.stem}.utf8.jsonl"
        )
    # A damaged byte spoils its own line only: it becomes a character that no field may hold.
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _utterance(text: str, folder: Path) -> Utterance:
    """One line's utterance. A ValueError says what is wrong with it."""
    try:
        row = json.loads(text, parse_constant=float)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("is not JSON: nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError(f"is not a JSON object but {type(row).__name__}")
    audio = _string(row, "audio_filepath")
    if not audio.strip() or "\0" in audio:
        raise ValueError(f"audio_filepath is {audio!r}")
    language = _string(row, "lang" if "lang" in row else "source_lang").lower()
    task, target = _task(row, language)
    key = audio if target is None else f"{audio} > {target}"
    return Utterance(
        key, audio, (folder / audio).resolve(), _duration(row), _string(row, "text"), language, task, target
    )


def _string(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        raise ValueError(f"has no {'lang' if name == 'source_lang' else name}")
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is {json.dumps(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not valid UTF-8") from error
    return value


def _duration(row: Mapping[str, Any]) -> float | None:
    value = row.get("duration")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"duration is {value!r}, not a number of seconds")
    return float(value)


def _task(row: Mapping[str, Any], language: str) -> tuple[str, str | None]:
    """The task and the target language, checked against what the model was trained for."""
    name = _string(row, "taskname").lower() if row.get("taskname") is not None else "asr"
    if name not in TASK_NAMES:
        raise ValueError(f"taskname is {name!r}, not one of {', '.join(TASK_NAMES)}")
    target = _string(row, "target_lang").lower() if row.get("target_lang") is not None else None
    task = TASK_NAMES[name]
    if task == "transcribe":
        if target not in (None, language):
            raise ValueError(
                f"target_lang is {target}, but taskname is {name}: a transcript is in the speech's language"
            )
        target = None
    try:
        return task, prompts.build(task, language=language, target=target).target
    except UsageError as error:
        raise ValueError(error.what.replace("--language", "lang").replace("--target", "target_lang")) from error
