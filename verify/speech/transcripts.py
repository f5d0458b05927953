"""Transcripts on disk: JSONL files that grow by whole lines, so that a run goes on where it was stopped.

The first line says what the transcripts were made with; each other line is one utterance, with its text or the
reason why it has none. While a run lasts, every process appends to a part of its own; a finished run is one sorted
file, the same bytes however many processes made it, with the times in a file beside it. Scores are always made from
such a file, so that they can be made again without the model.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from env import elsewhere
from env.atomic import write_json, write_text
from env.errors import RecordError, storage_error
from env.language import _, joined

SCHEMA = 1
KIND = "transcripts"
ENDLESS_NOTES = ("repetition loop", "stopped at")  # how the notes begin by which files without `ended` tell it


@dataclass(frozen=True)
class Line:
    """One utterance: its reference, what was understood or why nothing was, and what it cost.

    `duration` and `seconds` (processing) are seconds. `key` names the utterance across machines. `ended` is what ended
    the text, as decoding has it; None where there is none, and in files of before there was this field.

    `audio_sha256`, `offset` and `span` (seconds; None: to the end), `channels` (None: all, mixed) and `prompt` say what
    the text was made of: it is used again for the very same alone. Without a `reference` it is in no score.
    """

    key: str
    audio: str
    language: str
    task: str
    target: str | None
    reference: str | None
    hypothesis: str | None = None
    error: str | None = None
    duration: float = 0.0
    seconds: float = 0.0
    audio_sha256: str | None = None
    notes: tuple[str, ...] = ()
    ended: str | None = None
    offset: float = 0.0
    span: float | None = None
    channels: tuple[int, ...] | None = None
    prompt: str | None = None

    @property
    def endless(self) -> bool:
        """Whether the model did not end its text: it was cut off in a loop or at the limit of new tokens."""
        if self.ended is None:
            return any(note.startswith(ENDLESS_NOTES) for note in self.notes)
        return self.ended != "eos"


@dataclass(frozen=True)
class Transcripts:
    """A file read back. `header` is what the transcripts were made with, `dropped` a half-written last line."""

    header: Mapping[str, Any]
    lines: tuple[Line, ...]
    dropped: str | None = None

    @property
    def done(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.error is None)

    @property
    def scored(self) -> tuple[Line, ...]:
        """What there is a reference to score against."""
        return tuple(line for line in self.done if line.reference is not None)

    @property
    def failed(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.error is not None)


def data_sha256(lines: Iterable[Line]) -> str:
    """sha256 over what was transcribed: keys, references and audio, in the order of their keys."""
    rows = sorted((line.key, line.reference or "", line.audio_sha256 or "") for line in lines)
    return sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def _parse_header(path: Path, text: str) -> dict[str, Any]:
    try:
        header = elsewhere.parse_json(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.pop("kind", None) != KIND:
        raise RecordError(_("{path}: is not a file of transcripts", path=path), why=_("its first line does not say so"))
    schema = header.pop("schema", None)
    if schema != SCHEMA:
        raise RecordError(
            _(
                "{path}: transcripts of schema {required} required, {schema} found",
                path=path,
                required=SCHEMA,
                schema=repr(schema),
            )
        )
    return header


def _parse_line(path: Path, number: int, text: str) -> Line:
    try:
        value = elsewhere.parse_json(text)
        channels = value.get("channels")
        kept = {"notes": tuple(value["notes"]), "channels": None if channels is None else tuple(channels)}
        return Line(**{**value, **kept})
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(
            _("{path}: line {number} is damaged", path=path, number=number),
            why=str(error),
            next=_("sed -i {number}d {path}, and run again", number=number, path=path),
        ) from error


def _header_text(header: Mapping[str, Any]) -> str:
    return json.dumps({"kind": KIND, "schema": SCHEMA, **header}, ensure_ascii=False, allow_nan=False) + "\n"


def _line_text(line: Line, *, times: bool) -> str:
    value = asdict(line)
    if not times:
        del value["seconds"]
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def times_path(path: Path) -> Path:
    """The file beside `path`, a finished file of transcripts, that holds the processing times."""
    return path.with_name(f"{path.stem}.times.json")


def _times(path: Path, text: str) -> dict[str, float]:
    """The times of the transcripts with this text, and of no other file that has lain at this place."""
    try:
        kept = elsewhere.read_json(times_path(path), "transcripts")
        if kept["transcripts_sha256"] != _sha256(text):
            return {}
        return {key: float(value) for key, value in kept["seconds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # texts are scored without their times: RTFx is then unknown


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def newest(lines: Iterable[Line]) -> dict[str, Line]:
    """One line a key: a text rather than a failure, else the later one."""
    kept: dict[str, Line] = {}
    for line in lines:
        if line.error is None or line.key not in kept or kept[line.key].error is not None:
            kept[line.key] = line
    return kept


def read(path: Path) -> Transcripts:
    """Read a file of transcripts or a part. A last line without its line break was being written when the program
    was stopped: it is dropped, and returned as such.

    Raises:
        RecordError: the file is absent, is not one of transcripts, or is damaged elsewhere than in its last line.
    """
    try:
        text = elsewhere.read_text(path, "transcripts", errors="replace")
    except OSError as error:
        raise RecordError(
            _("{path}: cannot be read: {reason}", path=path, reason=error.strerror), next=f"ls -l {path}"
        ) from error
    complete, _break, dropped = text.rpartition("\n")
    if not complete:
        raise RecordError(
            _("{path}: holds no transcripts", path=path),
            why=_("it has no whole line"),
            next=_("rm {path}, and run again", path=path),
        )
    first, *rest = complete.split("\n")
    header = _parse_header(path, first)
    times = _times(path, text)
    lines = newest(_parse_line(path, number, row) for number, row in enumerate(rest, start=2))
    timed = tuple(replace(line, seconds=times.get(key, line.seconds)) for key, line in lines.items())
    return Transcripts(header, timed, dropped or None)


def write(path: Path, header: Mapping[str, Any], lines: Iterable[Line]) -> None:
    """Write a finished file and its times, each by atomic rename; lines in the order of their keys.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    ordered = sorted(lines, key=lambda line: line.key)
    text = _header_text(header) + "".join(_line_text(line, times=False) for line in ordered)
    times = {"transcripts_sha256": _sha256(text), "seconds": {line.key: line.seconds for line in ordered}}
    write_json(times_path(path), times)
    write_text(path, text)


def check_header(path: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on in a file that was made with other settings than those of now.

    Raises:
        RecordError: with the settings that differ.
    """
    changes = [
        _("{name} was {earlier}, is {now}", name=name, earlier=repr(earlier.get(name)), now=repr(now.get(name)))
        for name in sorted(earlier.keys() | now.keys())
        if earlier.get(name) != now.get(name)
    ]
    if changes:
        raise RecordError(
            _("{path}: was made with other settings", path=path),
            why=joined(*changes),
            next=_("give another --output, or remove the file"),
        )


def parts(path: Path) -> list[Path]:
    """What processes of an unfinished run have left beside `path`, in the order of their ranks."""
    files = path.parent.glob(f"{glob.escape(path.name)}.part-*")
    return sorted(files, key=lambda part: (len(part.name), part.name))


def earlier(path: Path, header: Mapping[str, Any]) -> tuple[dict[str, Line], dict[str, int]]:
    """The lines of earlier runs towards `path`, finished or not, by key; and how many each file held.

    Raises:
        RecordError: a file was made with other settings, or is damaged.
    """
    lines: list[Line] = []
    counts: dict[str, int] = {}
    for file in [path, *parts(path)]:
        if file.exists() and file.stat().st_size:
            kept = read(file)
            check_header(file, kept.header, header)
            lines += kept.lines
            counts[file.name] = len(kept.done)
    return newest(lines), counts


class Journal:
    """The part of one process, open for appending. A half-written last line of an earlier run is taken out first.

    Raises:
        RecordError: the part was made with other settings, or is damaged.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, rank: int, header: Mapping[str, Any]) -> None:
        self.path = path.with_name(f"{path.name}.part-{rank}")
        self.dropped: str | None = None
        text = _header_text(header)
        if self.path.exists() and self.path.stat().st_size:
            kept = read(self.path)
            check_header(self.path, kept.header, header)
            self.dropped = kept.dropped
            text += "".join(_line_text(line, times=True) for line in kept.lines)
        write_text(self.path, text)
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def add(self, lines: Iterable[Line]) -> None:
        """Append finished utterances, durably.

        Raises:
            StorageError: the disk is full; what was written before stays.
        """
        data = "".join(_line_text(line, times=True) for line in lines).encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def finish(path: Path, header: Mapping[str, Any], lines: Iterable[Line]) -> Path | None:
    """Write the finished file, then remove the parts that it replaces.

    A finished file of before that holds a text which the new one lacks is kept beside it: the place where is returned.

    Raises:
        StorageError: as `write`; the parts then stay.
    """
    finished = list(lines)
    replaced = _keep_replaced(path, {(line.key, line.hypothesis) for line in finished})
    write(path, header, finished)
    for part in parts(path):
        part.unlink(missing_ok=True)
    return replaced


def _keep_replaced(path: Path, texts: Collection[tuple[str, str | None]]) -> Path | None:
    if not path.exists() or not path.stat().st_size:
        return None
    before = read(path)
    if all((line.key, line.hypothesis) in texts for line in before.done):
        return None
    place = path.with_name(f"{path.stem}.replaced.jsonl")
    write(place, before.header, before.lines)
    return place
