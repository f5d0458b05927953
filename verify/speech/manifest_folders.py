"""Folders as manifests: a Kaldi data folder, or recordings with their transcripts beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from env import elsewhere
from env.digest import file_sha256
from env.errors import InputError
from env.language import Message, _
from model.files import recordings_in

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # Hugging Face AudioFolder
KALDI = ("wav.scp", "segments", "text", "utt2lang", "reco2file_and_channel")


class UnusableLineError(Exception):
    """A row is no utterance; `reason` is a message, `kind` says what may be done about it (manifest.NEXT)."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Reasoned(Protocol):
    """A row's fault: its kind, and a message that says it."""

    @property
    def kind(self) -> str: ...

    @property
    def reason(self) -> str: ...


def likeness(fault: Reasoned) -> tuple[str, str]:
    """What faults that are alike have in common: a message whatever its fields."""
    return fault.kind, fault.reason.template if isinstance(fault.reason, Message) else fault.reason


@dataclass(frozen=True)
class Row:
    """A row of a manifest: what was read, or why nothing was. Relative paths start from `folder`."""

    line: int
    value: Any
    folder: Path


def rows(path: Path) -> tuple[list[Row], list[tuple[str, str]]]:
    """The rows of a folder, and name and digest of what they were read from.

    Raises:
        InputError: there is nothing in it, or a file cannot be read.
    """
    try:
        if (path / "wav.scp").is_file():
            files = [path / name for name in KALDI if (path / name).is_file()]
            return list(_kaldi(path)), [(file.name, file_sha256(file)) for file in files]
        return _recordings(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            _("{path}: cannot be read: {reason}", path=path, reason=str(error)), next=f"ls -l {path}"
        ) from error


def _mapping(path: Path) -> dict[str, tuple[int, str]]:
    """A Kaldi table: what follows each key, and the line it stands in."""
    if not path.is_file():
        return {}
    table = {}
    for number, line in enumerate(elsewhere.read_text(path, "manifest").split("\n"), start=1):
        key, _space, value = line.strip().partition(" ") if " " in line else line.strip().partition("\t")
        if key:
            table[key] = (number, value.strip())
    return table


def _kaldi(folder: Path) -> Iterator[Row]:
    """wav.scp and, where they are there, segments, text and utt2lang (kaldi-asr.org, "Data preparation").

    A line of wav.scp that is a command is never run.
    """
    recordings = _mapping(folder / "wav.scp")
    texts, languages = _mapping(folder / "text"), _mapping(folder / "utt2lang")
    channels = _mapping(folder / "reco2file_and_channel")
    segments = _mapping(folder / "segments") or {key: (number, key) for key, (number, _) in recordings.items()}
    for utterance, (number, described) in segments.items():
        recording, *times = described.split()
        place = recordings.get(recording, (0, ""))[1]
        row: dict[str, Any] = {"audio_filepath": place}
        if utterance in texts or texts:
            row["text"] = texts[utterance][1] if utterance in texts else None
        if utterance in languages:
            row["lang"] = languages[utterance][1]
        side = channels.get(recording, (0, ""))[1].rpartition(" ")[2]
        if side in ("A", "B"):
            row["channel_selector"] = "AB".index(side)
        try:
            row |= _times(times)
        except ValueError:
            yield Row(number, UnusableLineError("number", _("its times are {times}", times=" ".join(times))), folder)
            continue
        if not place:
            yield Row(number, UnusableLineError("audio", _("wav.scp has no {name}", name=recording)), folder)
        elif place.endswith("|"):
            reason = _("its audio is a command, which is not run: {command}", command=place)
            yield Row(number, UnusableLineError("command", reason), folder)
        else:
            yield Row(number, row, folder)


def _times(words: list[str]) -> dict[str, float]:
    """Offset and duration of a line of segments; an end of -1 is the recording's."""
    if not words:
        return {}
    start, end = float(words[0]), float(words[1]) if len(words) > 1 else -1.0
    return {"offset": start} if end < 0 else {"offset": start, "duration": round(end - start, 6)}


def _recordings(folder: Path) -> tuple[list[Row], list[tuple[str, str]]]:
    """Every recording below a folder, with its text from a file beside it: NAME.txt, or LibriSpeech's *.trans.txt."""
    files = recordings_in(folder)
    if not files:
        raise InputError(
            _("{path}: holds no recordings and no manifest", path=folder),
            why=_("neither wav.scp nor metadata.jsonl nor metadata.csv is in it"),
            next=f"ls {folder}",
        )
    spoken: dict[Path, str] = {}
    for listing in sorted(folder.rglob("*.trans.txt")):  # LibriSpeech: "84-121123-0000 GO DO YOU HEAR"
        for key, (_number, text) in _mapping(listing).items():
            spoken[listing.parent / key] = text
    collected, names = [], []
    for number, file in enumerate(files, start=1):
        row = {"audio_filepath": str(file.relative_to(folder))}
        transcript = _spoken(file, spoken)
        if transcript is not None:
            row["text"] = transcript
        collected.append(Row(number, row, folder))
        names.append((row["audio_filepath"], hashlib.sha256((transcript or "").encode()).hexdigest()))
    return collected, names


def _spoken(file: Path, listed: Mapping[Path, str]) -> str | None:
    """The text of a recording; None where none lies beside it."""
    beside = file.with_suffix(".txt")
    if file.with_suffix("") in listed or not beside.is_file():
        return listed.get(file.with_suffix(""))
    return " ".join(elsewhere.read_text(beside, "settings").split())
