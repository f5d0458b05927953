"""Transcripts as txt, json, srt, vtt or tsv: pure functions from segments with times to text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from model.alignment import Word
from model.prompts import TIMESTAMPS
from model.tags import Turn
from model.windows import UNSPACED_LANGUAGES, join

LINE_WIDTH = 42  # columns of a caption's line, and two lines a caption, a caption at least 5/6 s:
LINES = 2  # Netflix, Timed Text Style Guide: General Requirements and English
SHORTEST_CUE = 5 / 6
LONG_PAUSE = 3.0  # seconds of it begin another caption: openai/whisper, whisper/utils.py, SubtitlesWriter
ALIGNED = "aligned to the CTC head"
SHARED_OUT = "shared out by length of text"
WRITTEN = "written by the model"  # in tags of its text


@dataclass(frozen=True)
class Segment:
    """The text of a window. `start` and `end` are seconds from the beginning of the recording, where its speech is;
    `window` is what was read for it. `ended` is decoding's word for what ended the text, None where nothing was
    decoded; `decoded` is what of the window was, long silence at its ends aside. `words` have times where they were
    aligned, or where the model wrote them; `turns` are the speakers' where it named them.
    """

    start: float
    end: float
    text: str
    notes: tuple[str, ...] = ()
    ended: str | None = None
    window: tuple[float, float] | None = None
    words: tuple[Word, ...] = ()
    decoded: tuple[float, float] | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def shown(self) -> str:
        """The text to read: a line for each speaker's turn, where speakers are named."""
        return "\n".join(map(str, self.turns)) or self.text

    @property
    def read_seconds(self) -> float:
        """How much of the recording was read for it."""
        first, last = self.window or (self.start, self.end)
        return last - first

    @property
    def heard_seconds(self) -> float:
        """How much of the recording was decoded: nothing of silence."""
        if self.ended is None:
            return 0.0
        first, last = self.decoded or self.window or (self.start, self.end)
        return last - first


@dataclass(frozen=True)
class Transcript:
    """What was understood of one recording. `provenance` says what the recording was, `notes` what to know of it.

    `language` is that of the text; of a translation it is the `target`.
    """

    path: str
    segments: tuple[Segment, ...]
    language: str | None = None
    provenance: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None  # why the recording could not be read to its end
    task: str = "transcribe"
    target: str | None = None

    @property
    def text(self) -> str:
        return join([segment.text for segment in self.segments], self.language)

    @property
    def shown(self) -> str:
        """The text to read: a line for each speaker's turn, where speakers are named."""
        if not any(segment.turns for segment in self.segments):
            return self.text
        return "\n".join(segment.shown for segment in self.segments if segment.shown.strip())


@dataclass(frozen=True)
class Cue:
    """A caption: its lines and when they are shown, in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]


def timestamp(seconds: float, decimal: str) -> str:
    """HH:MM:SS and three decimals after `decimal`: a comma in SubRip, a full stop in WebVTT."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{decimal}{milliseconds % 1000:03d}"


def columns(text: str) -> int:
    """Columns of a terminal or a caption that `text` fills: East Asian wide characters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(mark) else 2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text
    )


def _pieces(word: str, width: int) -> Iterator[str]:
    """A word in pieces that fit a line: few are longer."""
    piece = ""
    for mark in word:
        if piece and columns(piece + mark) > width:
            yield piece
            piece = ""
        piece += mark
    yield piece


def _words(segment: Segment, *, spaced: bool) -> list[Word]:
    """The words of a segment with their times; where they were not aligned, its time is shared out by their width.

    Without spaces, each character counts as a word.
    """
    if segment.words:
        return list(segment.words)
    words = _caption(segment.text).split()
    if not spaced:
        words = [mark for word in words for mark in word]
    each = (segment.end - segment.start) / max(1, sum(columns(word) + spaced for word in words))
    timed, at = [], segment.start
    for word in words:
        end = at + each * (columns(word) + spaced)
        timed.append(Word(at, end, word))
        at = end
    return timed


def cues(transcript: Transcript, width: int = LINE_WIDTH) -> list[Cue]:
    """Captions of at most LINES lines of at most `width` columns; one holds the text of one window only."""
    spaced = transcript.language not in UNSPACED_LANGUAGES
    between = " " if spaced else ""
    made: list[Cue] = []
    for segment in transcript.segments:
        lines: list[str] = []
        start = end = segment.start
        speakers = _speakers(segment)
        for number, word in enumerate(_words(segment, spaced=spaced)):
            if lines and number in speakers:
                made.append(Cue(start, end, tuple(lines)))
                lines = []
            said = f"{speakers[number]} {word.text}" if number in speakers else word.text
            for piece in _pieces(_caption(said), width):
                fits = bool(lines) and columns(lines[-1] + between + piece) <= width
                pause = bool(lines) and word.start - end > LONG_PAUSE
                if lines and (pause or (not fits and len(lines) == LINES)):
                    made.append(Cue(start, end, tuple(lines)))
                    lines = []
                if not lines:
                    start = word.start
                if fits and lines:
                    lines[-1] += between + piece
                else:
                    lines.append(piece)
            end = max(end, word.end)
        if lines and any(lines):
            made.append(Cue(start, end if segment.words else segment.end, tuple(lines)))
    return [_long_enough(cue, following) for cue, following in zip_longest(made, made[1:])]


def _speakers(segment: Segment) -> dict[int, str]:
    """Who speaks, by the number of the first word of each turn."""
    at, speakers = 0, {}
    for turn in segment.turns:
        if turn.speaker is not None:
            speakers[at] = f"[{turn.speaker}]:"
        at += len(turn.text.split())
    return speakers


def _long_enough(cue: Cue, following: Cue | None) -> Cue:
    """A caption that can be read: it stays a little, but not into the next one."""
    end = max(cue.end, cue.start + SHORTEST_CUE)
    if following is not None:
        end = max(min(end, following.start), cue.start)
    return Cue(cue.start, end, cue.lines)


def _cues(transcript: Transcript, width: int, decimal: str) -> list[str]:
    """`start --> end` and the lines of each caption."""
    return [
        f"{timestamp(cue.start, decimal)} --> {timestamp(cue.end, decimal)}\n" + "\n".join(cue.lines) + "\n"
        for cue in cues(transcript, width)
    ]


def _caption(text: str) -> str:
    """Text that cannot end its cue or be taken for a time: no blank lines, no arrow."""
    return " ".join(text.split()).replace("-->", "->")


def txt(transcript: Transcript, width: int = LINE_WIDTH) -> str:
    return f"{transcript.shown}\n"


def srt(transcript: Transcript, width: int = LINE_WIDTH) -> str:
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(_cues(transcript, width, ","), start=1))


def vtt(transcript: Transcript, width: int = LINE_WIDTH) -> str:
    escaped = [cue.replace("&", "&amp;").replace("<", "&lt;") for cue in _cues(transcript, width, ".")]
    return "\n".join(["WEBVTT\n", *escaped])


def tsv(transcript: Transcript, width: int = LINE_WIDTH) -> str:
    """A row for each window, its times in whole milliseconds, as openai/whisper writes them."""
    rows = [
        f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{' '.join(segment.shown.split())}\n"
        for segment in transcript.segments
        if segment.text.strip()
    ]
    return "".join(["start\tend\ttext\n", *rows])


def data(transcript: Transcript) -> dict[str, Any]:
    """A transcript as JSON; `word_times` says what the times of words and captions are."""
    timed = WRITTEN if transcript.task == TIMESTAMPS else ALIGNED
    known = any(segment.words for segment in transcript.segments)
    return {"text": transcript.text, **asdict(transcript), "word_times": timed if known else SHARED_OUT}


def as_json(transcript: Transcript, width: int = LINE_WIDTH) -> str:
    """One JSON object on one line, so that the transcripts of several files make a JSONL stream."""
    return json.dumps(data(transcript), ensure_ascii=False, allow_nan=False) + "\n"


WRITERS: Mapping[str, Callable[..., str]] = {"txt": txt, "json": as_json, "srt": srt, "vtt": vtt, "tsv": tsv}
FORMATS: Sequence[str] = tuple(WRITERS)
ALL = "all"
TIMED = ("json", "srt", "vtt", "tsv")  # formats with times in them
