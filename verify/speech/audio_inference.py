"""`inference.py --audio`: recordings to text on stdout or in files, as it comes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from env import atomic
from env.errors import InputError, UsageError
from model import audio, prompts
from model.captions import WRITERS, Segment, Transcript
from model.prompts import Prompt
from model.signature import Signature
from model.transcribe import transcribe_files
from model.windows import UNSPACED_LANGUAGES
from verify import programs
from verify.programs import note

ONE_DOCUMENT = ("srt", "vtt")  # formats of which two in a row are no document


class Progress:
    """A bar over the files and the seconds of audio on stderr, where that is a terminal."""

    def __init__(self, total_seconds: float, files: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=sys.stdout.isatty(),  # else a pipe's text would land on the terminal
            disable=not sys.stderr.isatty(),
        )
        self._files = files
        self._task = self._bar.add_task(f"file 1 of {files}", total=total_seconds)

    def segment(self, segment: Segment) -> None:
        self._bar.advance(self._task, segment.end - segment.start)

    def file(self, number: int) -> None:
        self._bar.update(self._task, description=f"file {min(number + 1, self._files)} of {self._files}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bar:
            yield


def prompt(asked: argparse.Namespace) -> Prompt:
    """The prompt that the options ask for.

    Raises:
        UsageError: they contradict each other.
    """
    if asked.ctc and (asked.task != "transcribe" or asked.punctuate or asked.keywords or asked.prompt):
        raise UsageError("--ctc reads the encoder alone: it cannot be asked to translate, punctuate or follow a prompt")
    found = prompts.build(
        asked.task,
        language=asked.language,
        target=asked.target,
        punctuate=asked.punctuate,
        keywords=asked.keywords,
        prompt=asked.prompt,
    )
    if not found.trained:
        note("--prompt is not worded as the model was trained: its answer is a guess")
    return found


def total_seconds(paths: list[str]) -> float:
    """Seconds of audio by the files' headers.

    Raises:
        InputError: not one of the files can be opened; loading a model for them would be in vain.
    """
    total, errors = 0.0, []
    for path in paths:
        try:
            total += audio.seconds(path)
        except InputError as error:
            errors.append(error)
    if len(errors) == len(paths):
        raise errors[0] if len(errors) == 1 else InputError("\n".join(map(str, errors)))
    return total


def output_paths(paths: list[str], folder: Path, suffix: str) -> dict[str, Path]:
    """Where the transcript of each recording goes.

    Raises:
        UsageError: two recordings would write one file.
    """
    found: dict[str, Path] = {}
    for path in paths:
        place = folder / f"{Path(path).stem}.{suffix}"
        if place in found.values():
            raise UsageError(f"two recordings would be written to {place}", next="give them in separate calls")
        found[path] = place
    return found


class Printer:
    """Transcripts on stdout: txt window by window, the other formats when a recording is done."""

    def __init__(self, format: str, language: str | None, several: bool) -> None:
        self.format = format
        self.several = several
        self._between = "" if language in UNSPACED_LANGUAGES else " "
        self._begun = ""  # the recording of which text is printed already

    def segment(self, path: str, segment: Segment) -> None:
        if self.format != "txt" or not segment.text:
            return
        if self._begun == path:
            print(self._between, end="")
        elif self.several:
            print(f"==> {path} <==")
        self._begun = path
        print(segment.text, end="", flush=True)

    def transcript(self, transcript: Transcript) -> None:
        if self.format != "txt":
            print(WRITERS[self.format](transcript), end="", flush=True)
        elif self._begun == transcript.path:
            print(flush=True)
        self._begun = ""


def say(transcript: Transcript) -> None:
    """What there is to know of a transcript, on stderr."""
    for text in transcript.notes:
        note(f"{transcript.path}: {text}")
    for segment in transcript.segments:
        for text in segment.notes:
            note(f"{transcript.path}: {segment.start:.1f}-{segment.end:.1f} s: {text}")


def run(asked: argparse.Namespace) -> int:
    """Transcribe; every recording is tried.

    Raises:
        InputError: some recordings could not be transcribed, after the others were.
        KeyboardInterrupt: after what was done is written.
    """
    question = prompt(asked)
    several = len(asked.audio) > 1
    if several and asked.output is None and asked.output_format in ONE_DOCUMENT:
        raise UsageError(f"several {asked.output_format} documents cannot share stdout", next="--output DIR")
    places = output_paths(asked.audio, asked.output, asked.output_format) if asked.output else {}
    seconds = total_seconds(asked.audio)

    from model.decoding import Decoding

    session = programs.verification(asked)
    decoding = Decoding(asked.max_new_tokens, asked.num_beams, programs.batch_size(asked))
    reader = session.reader(decoding, ctc=asked.ctc)
    printer = Printer(asked.output_format, question.output_language, several)
    progress = Progress(seconds, len(asked.audio))

    def on_segment(path: str, segment: Segment) -> None:
        progress.segment(segment)
        if not places:
            printer.segment(path, segment)

    done: list[Transcript] = []
    started = time.perf_counter()
    try:
        with progress.shown():
            for transcript in transcribe_files(
                reader, asked.audio, question, limit_seconds=asked.window, on_segment=on_segment
            ):
                done.append(transcript)
                progress.file(len(done))
                if places and (transcript.segments or transcript.error is None):
                    atomic.write_text(places[transcript.path], WRITERS[asked.output_format](transcript))
                elif not places:
                    printer.transcript(transcript)
                say(transcript)
                if several and transcript.error is not None:
                    print(f"error: {transcript.error}", file=sys.stderr, flush=True)
    finally:
        spent = time.perf_counter() - started
        _record(asked.json, done, session.speech_signature(reader, prompt=question.content), spent)
    failed = [transcript for transcript in done if transcript.error is not None]
    if failed and not several:
        raise InputError(str(failed[0].error))
    if failed:
        raise InputError(f"{len(failed)} of {len(done)} recordings could not be transcribed to their end")
    return 0


def _record(path: Path | None, done: list[Transcript], signature: Signature, spent: float) -> None:
    """The summary on stderr, and the JSON record where one was asked for."""
    heard = sum(segment.end - segment.start for transcript in done for segment in transcript.segments)
    rtfx = heard / spent if spent > 0 and heard > 0 else None
    kind = f"{signature.device}, {signature.dtype}, {signature.weights_name}"
    if rtfx is not None:
        note(f"{heard:.1f} s of audio in {spent:.1f} s, RTFx {rtfx:.1f} ({kind})")
    if path is not None:
        transcripts = [{"text": transcript.text, **asdict(transcript)} for transcript in done]
        value = {
            "schema": 1,
            "program": "inference.py",
            "command": ["python", *sys.argv],
            "signature": signature.as_json(),
            "transcripts": transcripts,
            "audio_seconds": heard,
            "processing_seconds": spent,
            "rtfx": rtfx,
        }
        atomic.write_json(path, value)
