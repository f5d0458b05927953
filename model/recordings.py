"""`inference.py --audio`: recordings to text on stdout or in files, as it comes."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from env import atomic
from env.errors import InputError, UsageError
from env.language import Message, _, translate
from model import audio, captions, prompts
from model.captions import WRITERS, Segment, Transcript
from model.console import Bar, lines, note
from model.options import batch_size, keywords
from model.prompts import Prompt
from model.signature import Signature
from model.sources import Source, named
from model.transcribe import transcribe_files
from model.warmup import warm_up
from model.windows import UNSPACED_LANGUAGES

if TYPE_CHECKING:
    from model.session import Session

ONE_DOCUMENT = ("srt", "vtt", "tsv")  # formats of which two in a row are no document


def prompt(options: argparse.Namespace, plus: bool) -> Prompt:
    """The prompt by --task, --language, --target, --punctuate, --keywords and --prompt; `plus`: for a -plus checkpoint.

    Raises:
        UsageError: they contradict each other.
    """
    names = keywords(options)
    task = options.task or "transcribe"
    if options.ctc and (task != "transcribe" or options.punctuate or names or options.prompt):
        raise UsageError(
            _("--ctc reads the encoder alone: it cannot be asked to translate, punctuate or follow a prompt")
        )
    return prompts.build(
        task,
        language=options.language,
        target=options.target,
        punctuate=options.punctuate,
        keywords=names,
        prompt=options.prompt,
        tell_language=True,
        plus=plus,
    )


def _tell(chosen: Prompt, window: float) -> None:
    """What there is to know of a prompt, on stderr."""
    if not chosen.trained:
        note(_("--prompt is not worded as the model was trained: its answer is a guess"))
    if chosen.longest is not None and window > chosen.longest:
        note(
            _(
                "--window {window:g}: the model was trained for up to {longest:g} s of --task {task}",
                window=window,
                longest=chosen.longest,
                task=chosen.task,
            )
        )


def total_seconds(sources: Sequence[Source]) -> float:
    """Seconds of audio by the files' headers.

    Raises:
        InputError: not one of the files can be opened; loading a model for them would be in vain.
    """
    total, errors = 0.0, []
    for source in sources:
        try:
            total += audio.seconds(source.path)
        except InputError as error:
            errors.append(error)
    if len(errors) == len(sources):
        raise errors[0] if len(errors) == 1 else InputError(lines(*(error.message for error in errors)))
    return total


def output_paths(sources: Sequence[Source], folder: Path, suffix: str) -> dict[str, Path]:
    """Where the transcript of each recording goes: named as the recording, in folders as the recordings are where
    several are named alike, with the recording's own ending where that still does not tell them apart.

    Raises:
        UsageError: two recordings would write one file.
    """
    common = os.path.commonpath([source.path.absolute().parent for source in sources])
    for folders, ending in ((False, False), (True, False), (True, True)):
        places: dict[str, Path] = {}
        for source in sources:
            parent = source.path.absolute().parent.relative_to(common) if folders else Path()
            name = source.path.name if ending else source.path.stem
            channel = (
                source.label.rpartition("#")[2] if source.label != str(source.path) and "#" in source.label else ""
            )
            places[source.label] = folder / parent / f"{name}{'.' if channel else ''}{channel}.{suffix}"
        if len(set(places.values())) == len(sources):
            return places
    raise UsageError(
        _("two recordings would be written to {place}", place=next(iter(places.values()))),
        next=_("give them in separate calls"),
    )


def output_formats(options: argparse.Namespace, *, several: bool) -> tuple[str, ...]:
    """The formats of --output-format, each once; `all` is each there is.

    Raises:
        UsageError: they cannot share stdout.
    """
    formats = tuple(captions.FORMATS if captions.ALL in options.output_format else dict.fromkeys(options.output_format))
    if options.output is None and len(formats) > 1:
        raise UsageError(_("several formats cannot share stdout"), next="--output DIR")
    if options.output is None and several and formats[0] in ONE_DOCUMENT:
        raise UsageError(_("several {format} documents cannot share stdout", format=formats[0]), next="--output DIR")
    return formats


class Printer:
    """Transcripts on stdout: txt window by window, the other formats when a recording is done."""

    def __init__(self, format: str, width: int, language: str | None, several: bool) -> None:
        self.format = format
        self.width = width
        self.several = several
        self._between = "" if language in UNSPACED_LANGUAGES else " "
        self._begun = ""  # the recording of which text is printed already

    def segment(self, path: str, segment: Segment) -> None:
        if self.format != "txt" or not segment.text:
            return
        if self._begun == path:
            print("\n" if segment.turns else self._between, end="")
        elif self.several:
            print(f"==> {path} <==")
        self._begun = path
        print(segment.shown, end="", flush=True)

    def transcript(self, transcript: Transcript) -> None:
        if self.format != "txt":
            print(WRITERS[self.format](transcript, self.width), end="", flush=True)
        elif self._begun == transcript.path:
            print(flush=True)
        elif self.several and transcript.error is None:  # nothing was heard in it: it is named all the same
            print(f"==> {transcript.path} <==\n", flush=True)
        self._begun = ""


def print_notes(transcript: Transcript) -> None:
    """What there is to know of a transcript, on stderr."""
    for text in transcript.notes:
        note(_("{path}: {text}", path=transcript.path, text=text))
    for segment in transcript.segments:
        for text in segment.notes:
            note(
                _(
                    "{path}: {start:.1f}-{end:.1f} s: {text}",
                    path=transcript.path,
                    start=segment.start,
                    end=segment.end,
                    text=text,
                )
            )


def run(options: argparse.Namespace, session: Session) -> int:
    """Transcribe; every recording is tried. The session is not touched before the options and files are looked at.

    Raises:
        InputError: some recordings could not be transcribed, after the others were.
        KeyboardInterrupt: after what was done is written.
    """
    prompt(options, plus=options.task in prompts.TAGGED)  # options that contradict each other whatever the checkpoint
    with named(options.audio, options.channels) as sources:
        return _transcribe(options, session, sources)


def _transcribe(options: argparse.Namespace, session: Session, sources: list[Source]) -> int:
    several = len(sources) > 1
    formats = output_formats(options, several=several)
    places = {suffix: output_paths(sources, options.output, suffix) for suffix in formats if options.output}
    seconds = total_seconds(sources)
    instruction = prompt(options, session.plus)
    _tell(instruction, options.window)

    from model.decoding import Decoding

    decoding = Decoding(options.max_new_tokens, options.num_beams, batch_size(options))
    timed = options.json is not None or any(name in captions.TIMED for name in formats)
    reader = session.reader(decoding, ctc=options.ctc, align=timed)
    warm_up(reader, sources, instruction, options.warmup or 0, options.window)
    printer = Printer(formats[0], options.max_line_width, instruction.output_language, several)
    files = len(sources)
    bar = Bar(_file_label(1, files), seconds, in_seconds=True)

    def on_segment(path: str, segment: Segment) -> None:
        bar.advance(segment.read_seconds)
        if not places:
            printer.segment(path, segment)

    done: list[Transcript] = []
    started = time.perf_counter()
    try:
        with bar:
            for transcript in transcribe_files(
                reader, sources, instruction, limit_seconds=options.window, on_segment=on_segment
            ):
                done.append(transcript)
                bar.set_label(_file_label(min(len(done) + 1, files), files))
                if not places:
                    printer.transcript(transcript)
                elif transcript.segments or transcript.error is None:
                    for suffix, place in places.items():
                        atomic.write_text(place[transcript.path], WRITERS[suffix](transcript, options.max_line_width))
                print_notes(transcript)
                if several and transcript.error is not None:
                    print(translate(_("error: {error}", error=transcript.error)), file=sys.stderr, flush=True)
    finally:
        spent = time.perf_counter() - started
        signature = session.speech_signature(reader, prompt=instruction.content, warmup=options.warmup or None)
        _record(options.json, done, signature, spent)
    _require_all(done)
    return 0


def _require_all(done: Sequence[Transcript]) -> None:
    """Raises: InputError, where a recording could not be transcribed to its end."""
    failed = [transcript for transcript in done if transcript.error is not None]
    if failed and len(done) == 1:
        raise InputError(failed[0].error or "")
    if failed:
        raise InputError(
            _(
                "{failed} of {count} recordings could not be transcribed to their end",
                failed=len(failed),
                count=len(done),
            )
        )


def _file_label(number: int, files: int) -> Message:
    return _("file {number} of {files}", number=number, files=files)


def _record(path: Path | None, done: list[Transcript], signature: Signature, spent: float) -> None:
    """The summary on stderr, and the JSON record where --json names a file."""
    heard = sum(segment.heard_seconds for transcript in done for segment in transcript.segments)
    rtfx = heard / spent if spent > 0 and heard > 0 else None
    if rtfx is not None:
        note(
            _(
                "{heard:.1f} s of audio in {spent:.1f} s, RTFx {rtfx:.1f} ({device}, {dtype}, {weights})",
                heard=heard,
                spent=spent,
                rtfx=rtfx,
                device=signature.device,
                dtype=signature.dtype,
                weights=signature.weights_name,
            )
        )
    if path is not None:
        transcripts = [captions.data(transcript) for transcript in done]
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
