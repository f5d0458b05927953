"""Transcripts as txt, json, srt or vtt: pure functions from segments with times to text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.windows import join


@dataclass(frozen=True)
class Segment:
    """The text of a window. `start` and `end` are seconds from the beginning of the recording; `ended` is decoding's
    word for what ended the text, None where nothing was decoded.
    """

    start: float
    end: float
    text: str
    notes: tuple[str, ...] = ()
    ended: str | None = None


@dataclass(frozen=True)
class Transcript:
    """What was understood of one recording. `provenance` says what the recording was, `notes` what to know of it."""

    path: str
    segments: tuple[Segment, ...]
    language: str | None = None
    provenance: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None  # why the recording could not be read to its end

    @property
    def text(self) -> str:
        return join([segment.text for segment in self.segments], self.language)


def timestamp(seconds: float, decimal: str) -> str:
    """HH:MM:SS and three decimals after `decimal`: a comma in SubRip, a full stop in WebVTT."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{decimal}{milliseconds % 1000:03d}"


def _cues(transcript: Transcript, decimal: str) -> list[str]:
    """`start --> end` and text of each segment that has text."""
    return [
        f"{timestamp(segment.start, decimal)} --> {timestamp(segment.end, decimal)}\n{_caption(segment.text)}\n"
        for segment in transcript.segments
        if segment.text.strip()
    ]


def _caption(text: str) -> str:
    """Text that cannot end its cue or be taken for a time: no blank lines, no arrow."""
    return " ".join(text.split()).replace("-->", "->")


def txt(transcript: Transcript) -> str:
    return f"{transcript.text}\n"


def srt(transcript: Transcript) -> str:
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(_cues(transcript, ","), start=1))


def vtt(transcript: Transcript) -> str:
    escaped = [cue.replace("&", "&amp;").replace("<", "&lt;") for cue in _cues(transcript, ".")]
    return "\n".join(["WEBVTT\n", *escaped])


def as_json(transcript: Transcript) -> str:
    """One JSON object on one line, so that the transcripts of several files make a JSONL stream."""
    value = {"text": transcript.text, **asdict(transcript)}
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


WRITERS: Mapping[str, Callable[[Transcript], str]] = {"txt": txt, "json": as_json, "srt": srt, "vtt": vtt}
FORMATS: Sequence[str] = tuple(WRITERS)
