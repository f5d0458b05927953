"""An evaluation: a manifest through a model to transcripts on disk, resumable, by one process or by many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from env.errors import InputError
from env.language import Message, _
from model import audio, prompts, windows
from model.audio import AudioFile
from model.captions import Segment
from model.decoding import Reader
from model.prompts import Prompt
from model.transcribe import decode_windows, segments
from verify.speech import reuse, shards, transcripts
from verify.speech.manifest import UNDETERMINED, Utterance
from verify.speech.reuse import Digests, Standing
from verify.speech.shards import Group, Place
from verify.speech.transcripts import Journal, Line, Transcripts

DURATION_TOLERANCE = 0.1  # seconds between manifest and file before it is noted


@dataclass(frozen=True)
class Heard:
    """What a recording gave: its segments, or the error for which it has none; texts are messages."""

    segments: tuple[Segment, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Asking:
    """What the model is asked to do with every utterance, beside its task: the options of eval.py.

    `prompt` is an instruction of the user's own; `language` is told to the model where an instruction has it; `task`
    takes the place of transcribing, with tags that are in no score; `plus`: the checkpoint is a granite_speech_plus.
    """

    punctuate: bool = False
    keywords: tuple[str, ...] = ()
    prompt: str | None = None
    language: str | None = None
    task: str | None = None
    plus: bool = False

    def prompt_for(self, utterance: Utterance) -> Prompt:
        """The prompt of one utterance; what its row says of punctuation goes before the option.

        Raises:
            UsageError: the options contradict each other or the task.
        """
        spoken = None if utterance.language == UNDETERMINED else utterance.language
        punctuate = self.punctuate if utterance.punctuate is None else utterance.punctuate
        if self.prompt is not None:
            own = prompts.build(
                language=spoken,
                prompt=self.prompt,
                punctuate=self.punctuate,
                keywords=self.keywords,
                plus=self.plus,
            )
            return replace(own, target=utterance.target)
        return prompts.build(
            self.task if self.task and utterance.task == "transcribe" else utterance.task,
            language=spoken,
            target=utterance.target,
            punctuate=punctuate and not self.keywords if utterance.punctuate is not None else punctuate,
            keywords=self.keywords,
            tell_language=spoken is not None and spoken == self.language,
            plus=self.plus,
        )


PLAIN = Asking()


def durations(utterances: Sequence[Utterance]) -> list[float]:
    """Seconds of each recording: the manifest's word, else the file's header, else nothing for a file without one."""
    lengths = []
    for utterance in utterances:
        seconds = utterance.duration
        if seconds is None:
            try:
                seconds = max(0.0, audio.seconds(utterance.path) - utterance.piece.start)
            except InputError:
                seconds = 0.0  # it will be listed as failed when it is its turn
        lengths.append(seconds)
    return lengths


def _read(utterance: Utterance, limit_seconds: float) -> tuple[list[windows.Window], Heard]:
    """The windows of a short recording, and what is known of it before it is decoded.

    Raises:
        InputError: it cannot be read to its end.
    """
    with AudioFile(utterance.path, utterance.piece) as file:
        pieces = list(windows.split(file.blocks(), limit_seconds))
        if file.damage is not None:
            raise file.damage
        return pieces, Heard((), pieces[-1].end_seconds, tuple(file.notes))


def _hear_together(
    reader: Reader, batch: Sequence[Utterance], instructions: Sequence[Prompt], limit_seconds: float
) -> list[Heard]:
    """Decode short recordings in one go."""
    heard: list[Heard] = []
    group: list[windows.Window] = []
    owners: list[int] = []
    for index, utterance in enumerate(batch):
        try:
            pieces, known = _read(utterance, limit_seconds)
        except InputError as error:
            pieces, known = [], Heard((), 0.0, error=error.message)
        heard.append(known)
        group += pieces
        owners += [index] * len(pieces)
    decoded = decode_windows(reader, group, [instructions[owner] for owner in owners])
    for owner, segment in zip(owners, decoded, strict=True):
        heard[owner] = replace(heard[owner], segments=(*heard[owner].segments, segment))
    return heard


def _hear_long(reader: Reader, utterance: Utterance, instruction: Prompt, limit_seconds: float) -> Heard:
    """Decode a long recording as it is read."""
    try:
        with AudioFile(utterance.path, utterance.piece) as file:
            decoded = tuple(segments(reader, file, instruction, limit_seconds))
            if file.damage is not None:
                raise file.damage
            return Heard(decoded, sum(segment.read_seconds for segment in decoded), tuple(file.notes))
    except InputError as error:
        return Heard((), 0.0, error=error.message)


def _ended(segments: Sequence[Segment]) -> str | None:
    """What ended a text of several windows: what cut one off, where one was."""
    endings = {segment.ended for segment in segments} - {None}
    return next((ending for ending in ("loop", "limit", "eos") if ending in endings), None)


def _line(utterance: Utterance, heard: Heard, instruction: Prompt, seconds: float, digest: str | None) -> Line:
    line = Line(
        utterance.key,
        utterance.audio,
        utterance.language,
        utterance.task,
        utterance.target,
        utterance.text,
        duration=heard.seconds,
        seconds=seconds,
        error=heard.error,
        offset=utterance.piece.start,
        span=utterance.piece.seconds,
        channels=utterance.piece.channels,
        prompt=instruction.content,
    )
    if heard.error is not None:
        return line
    notes = dict.fromkeys([*heard.notes, *(note for segment in heard.segments for note in segment.notes)])
    if utterance.duration is not None and abs(utterance.duration - heard.seconds) > DURATION_TOLERANCE:
        difference = _(
            "the manifest says {declared:.2f} s, the file holds {held:.2f} s",
            declared=utterance.duration,
            held=heard.seconds,
        )
        notes[difference] = None
    return replace(
        line,
        hypothesis=windows.join([segment.text for segment in heard.segments], instruction.output_language),
        audio_sha256=digest,
        notes=tuple(notes),
        ended=_ended(heard.segments),
    )


def transcribe_batch(
    reader: Reader,
    batch: Sequence[Utterance],
    *,
    limit_seconds: float,
    asking: Asking = PLAIN,
    digests: Digests | None = None,
) -> list[Line]:
    """A line for each utterance of a batch; its processing time is shared out by length of audio.

    Raises:
        OutOfMemoryError, DeviceError, UsageError: as the reader.
    """
    started = time.perf_counter()
    instructions = [asking.prompt_for(utterance) for utterance in batch]
    if len(batch) == 1:
        heard = [_hear_long(reader, batch[0], instructions[0], limit_seconds)]
    else:
        heard = _hear_together(reader, batch, instructions, limit_seconds)
    spent = time.perf_counter() - started
    total = sum(one.seconds for one in heard) or 1.0
    known = digests or Digests()
    return [
        _line(utterance, one, instruction, spent * one.seconds / total, known.of(utterance.path))
        for utterance, one, instruction in zip(batch, heard, instructions, strict=True)
    ]


def transcribe(
    reader: Reader,
    utterances: Sequence[Utterance],
    limit_seconds: float = windows.LIMIT_SECONDS,
    asking: Asking = PLAIN,
) -> list[Line]:
    """The lines of all `utterances`, in their order, without a file: for a set of a few clips.

    Raises:
        OutOfMemoryError, DeviceError, UsageError: as the reader.
    """
    lines: dict[str, Line] = {}
    for batch in shards.batches(durations(utterances), reader.batch_size, limit_seconds):
        members = [utterances[index] for index in batch]
        for line in transcribe_batch(reader, members, limit_seconds=limit_seconds, asking=asking):
            lines[line.key] = line
    return [lines[utterance.key] for utterance in utterances]


@dataclass(frozen=True)
class Plan:
    """What is left to do of a manifest: `batches` of indices into `utterances`, for every process.

    `done` are the texts of earlier runs that stand, `again` says why others do not.
    """

    utterances: Sequence[Utterance]
    seconds: Sequence[float]
    batches: Sequence[Sequence[int]]
    done: Mapping[str, Line]
    again: Mapping[str, str] = field(default_factory=dict)

    def share(self, rank: int, size: int) -> Iterator[list[int]]:
        """The batches of one process that hold anything not yet done, longest first.

        They are whole: an utterance keeps its neighbours, and so its text, also when some of them are done.
        """
        left = [
            list(batch) for batch in self.batches if any(self.utterances[index].key not in self.done for index in batch)
        ]
        loads = [sum(self.seconds[index] for index in batch) for batch in left]
        for number in shards.assign(loads, size)[rank]:
            yield left[number]

    def left_for(self, where: Place) -> int:
        """How many utterances one process has to do."""
        indices = (index for batch in self.share(where.rank, where.size) for index in batch)
        return sum(self.utterances[index].key not in self.done for index in indices)

    def reasons(self) -> list[Message]:
        """Why texts of earlier runs do not stand, with their numbers."""
        return Standing(self.done, self.again).reasons()

    def left(self) -> int:
        return sum(utterance.key not in self.done for utterance in self.utterances)


def plan(utterances: Sequence[Utterance], batch_size: int, limit_seconds: float, standing: Standing) -> Plan:
    """What to do after earlier runs; failed utterances are tried again."""
    seconds = durations(utterances)
    cut = shards.batches(seconds, batch_size, limit_seconds)
    return Plan(utterances, seconds, cut, standing.lines, standing.again)


def evaluate(
    reader: Reader,
    utterances: Sequence[Utterance],
    output: Path,
    header: Mapping[str, Any],
    group: Group,
    *,
    asking: Asking = PLAIN,
    limit_seconds: float = windows.LIMIT_SECONDS,
    on_start: Callable[[Plan, Mapping[str, int]], None] = lambda todo, counts: None,
    on_line: Callable[[Line], None] = lambda line: None,
    on_replaced: Callable[[Path], None] = lambda path: None,
) -> Transcripts | None:
    """Transcribe what is not yet in `output` or its parts, and write the finished file.

    `on_start` is told what is left and how many texts each file of an earlier run held; `on_replaced`, where an earlier
    file is kept that held texts which the new one has not. Returns the transcripts in the first process, None in the
    others.

    Raises:
        RecordError: earlier transcripts were made with other settings, or are damaged.
        StorageError: the disk is full; what was finished is kept.
        VerificationIncompleteError: a process died or was stopped; what was finished is kept.
        OutOfMemoryError, DeviceError, UsageError: as the reader.
    """
    seen, counts = transcripts.earlier(output, header)
    everywhere = group.gather((seen, counts))  # parts may lie on disks that this process does not see
    known = transcripts.newest(line for lines, _counts in everywhere for line in lines.values())
    digests = Digests()  # each process reads its share of the recordings that have an earlier text
    share = utterances[group.place.rank :: group.place.size]
    standing = reuse.together(group.gather(reuse.judge(share, known, asking.prompt_for, digests)))
    todo = plan(utterances, reader.batch_size, limit_seconds, standing)
    on_start(todo, {name: number for _lines, files in everywhere for name, number in files.items()})
    fresh: list[Line] = []
    with Journal(output, group.place.rank, header) as journal:
        for batch in todo.share(group.place.rank, group.place.size):
            members = [utterances[index] for index in batch]
            lines = transcribe_batch(reader, members, asking=asking, limit_seconds=limit_seconds, digests=digests)
            new = [line for line in lines if line.key not in todo.done]
            journal.add(new)
            fresh += new
            for line in new:
                on_line(line)
    gathered = transcripts.newest(line for lines in group.gather(fresh) for line in lines)
    finished = _finished(utterances, {**todo.done, **gathered})
    if group.place.first:
        replaced = transcripts.finish(output, header, finished)
        if replaced is not None:
            on_replaced(replaced)
    group.gather(None)  # a part is removed when the finished file is there, not before
    journal.path.unlink(missing_ok=True)
    return Transcripts(header, tuple(finished)) if group.place.first else None


def _finished(utterances: Sequence[Utterance], lines: Mapping[str, Line]) -> list[Line]:
    """The lines of this manifest, with its references: texts of an earlier run may be scored against corrected ones."""
    return sorted(
        (
            replace(lines[utterance.key], reference=utterance.text, language=utterance.language)
            for utterance in utterances
        ),
        key=lambda line: line.key,
    )
