"""Recordings to transcripts: read, cut into windows, decoded, joined; results come window by window."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from env.errors import InputError
from env.language import _
from model import windows
from model.alignment import Word
from model.audio import AudioFile
from model.captions import Segment, Transcript
from model.decoding import Decoded, Reader
from model.prompts import SPEAKERS, Prompt
from model.sources import Source
from model.windows import Window

INTERRUPTED = _("interrupted")
PAD = 0.2  # seconds around the words that still count as speech: the model's authors' own (vad_speech_pad)


def decode_windows(reader: Reader, group: list[Window], prompts: list[Prompt]) -> list[Segment]:
    """Decode windows, of one recording or of several, in as few batches as the reader takes. Silence is left out."""
    spoken = {index: window.without_long_silence() for index, window in enumerate(group) if not window.silent}
    decoded = reader.decode([part.samples for part in spoken.values()], [prompts[index] for index in spoken])
    results = dict(zip(spoken, decoded, strict=True))
    return [_segment(window, spoken.get(index), results.get(index)) for index, window in enumerate(group)]


def _segment(window: Window, part: Window | None, decoded: Decoded | None) -> Segment:
    """The text of a window, of which `part` was decoded, at the times of its sound; and what there is to know of it."""
    span = (window.start_seconds, window.end_seconds)
    if part is None or decoded is None:
        silent = _("silent (its loudest at {level:.0f} dBFS): not decoded", level=window.level)
        return Segment(*span, "", (silent,), window=span)
    notes = decoded.notes
    if not decoded.text.strip():
        notes = (*notes, _("no text, though it is not silent (its loudest at {level:.0f} dBFS)", level=window.level))
    begin = part.start_seconds
    words = tuple(Word(round(word.start + begin, 3), round(word.end + begin, 3), word.text) for word in decoded.words)
    times = _spoken(window, words)
    return Segment(*times, decoded.text, notes, decoded.ended, span, words, (begin, part.end_seconds), decoded.turns)


def _numbered_anew(done: list[Segment]) -> tuple[str, ...]:
    """What to know of the speakers of a recording in several windows: each counts its own."""
    spoken = sum(bool(segment.turns) for segment in done)
    if spoken < 2:
        return ()
    return (
        _("speakers are numbered anew in each of {count} windows: a longer --window has fewer of them", count=spoken),
    )


def _spoken(window: Window, words: tuple[Word, ...]) -> tuple[float, float]:
    """Where in the recording a window's speech is: its sound, and of that, where there are words."""
    first, last = window.sounding_seconds
    if not words:
        return first, last
    start, end = max(first, words[0].start - PAD), min(last, words[-1].end + PAD)
    return (start, end) if start < end else (first, last)


def segments(
    reader: Reader, audio: AudioFile, prompt: Prompt, limit_seconds: float = windows.LIMIT_SECONDS
) -> Iterator[Segment]:
    """The text of an open recording, window by window, in order; decoded a batch of windows at a time.

    Raises:
        InputError: as `AudioFile.blocks`, after the segments of what could be read.
        OutOfMemoryError, DeviceError, UsageError: as the reader.
    """
    stream = windows.split(audio.blocks(), limit_seconds)
    while group := list(islice(stream, reader.batch_size)):
        yield from decode_windows(reader, group, [prompt] * len(group))


def transcribe_files(
    reader: Reader,
    paths: Iterable[str | os.PathLike[str] | Source],
    prompt: Prompt,
    *,
    limit_seconds: float = windows.LIMIT_SECONDS,
    on_segment: Callable[[str, Segment], None] = lambda path, segment: None,
) -> Iterator[Transcript]:
    """A transcript of each recording, in order. One that cannot be read gives a transcript with its error.

    Ctrl-C gives the transcript of what was decoded so far, then raises KeyboardInterrupt.

    Raises:
        OutOfMemoryError, DeviceError, UsageError: as the reader; these concern every file.
    """
    for each in paths:
        source = each if isinstance(each, Source) else Source(Path(each), os.fspath(each))
        path = source.label
        done: list[Segment] = []
        error: str | None = None
        interrupted = False
        provenance: dict[str, Any] | None = None
        notes: tuple[str, ...] = ()
        try:
            with AudioFile(source.path, source.piece) as audio:
                provenance = asdict(audio.provenance)
                try:
                    for segment in segments(reader, audio, prompt, limit_seconds):
                        done.append(segment)
                        on_segment(path, segment)
                finally:
                    notes = tuple(audio.notes)
                if audio.damage is not None:
                    raise audio.damage
        except InputError as unusable:
            error = unusable.message
        except KeyboardInterrupt:
            error, interrupted = INTERRUPTED, True
        notes += _numbered_anew(done) if prompt.task == SPEAKERS else ()
        yield Transcript(
            path, tuple(done), prompt.output_language, provenance, notes, error, prompt.task, prompt.target
        )
        if interrupted:
            raise KeyboardInterrupt
