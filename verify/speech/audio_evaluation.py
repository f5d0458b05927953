"""`eval.py --manifest`, `--rescore` and `--compare`: speech to transcripts, transcripts to scores."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env import atomic
from env.errors import InputError, UsageError
from env.stack import ROOT
from verify import programs
from verify.programs import note
from verify.speech import manifest, normalisers, shards, transcripts
from verify.speech.manifest import Manifest, Utterance
from verify.speech.transcripts import Line, Transcripts
from verify.tables import number, table

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from model.device import Device
    from model.session import Session
    from verify.speech.evaluation import Plan
    from verify.speech.shards import Group, Place

NOTES_SHOWN = 20
HEADINGS = {"wer": "WER %", "cer": "CER %", "accuracy": "accuracy %", "bleu": "BLEU", "chrf": "chrF"}
TRANSCRIPTS = ROOT / "results" / "transcripts"


def run(asked: argparse.Namespace) -> int:
    """What eval.py was asked to do with speech."""
    if asked.rescore is not None:
        return rescore(asked)
    return compare(asked) if asked.compare is not None else evaluate(asked)


def rescore(asked: argparse.Namespace) -> int:
    """Score a file of transcripts.

    Raises:
        RecordError, InputError: the file or the spelling map cannot be read.
    """
    found = transcripts.read(asked.rescore)
    if found.dropped is not None:
        note(f"{asked.rescore}: its last line is half written and left out")
    _show(asked, found)
    return 0


def compare(asked: argparse.Namespace) -> int:
    """Compare two files of transcripts.

    Raises:
        RecordError, InputError: a file cannot be read, or they have nothing in common.
    """
    from verify.speech import compare as comparing

    first, second = asked.compare
    sides = transcripts.read(first), transcripts.read(second)
    found = comparing.compare(*sides, normalisers.load(asked.normaliser, asked.spelling), _names(*sides, first, second))
    print(comparing.report(found), end="")
    if asked.json is not None:
        value = {"schema": 1, "program": "eval.py", "command": ["python", *sys.argv], "comparison": found.data}
        atomic.write_json(asked.json, {**value, "signatures": [dict(side.header) for side in sides]})
    return 0


def _names(a: Transcripts, b: Transcripts, first: Path, second: Path) -> tuple[str, str]:
    """The devices' names where they tell the two apart, else the files'."""
    devices = tuple(str(side.header.get("device", "")).upper() for side in (a, b))
    if all(devices) and devices[0] != devices[1]:
        return devices[0], devices[1]
    return (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))


def evaluate(asked: argparse.Namespace) -> int:
    """Transcribe a manifest, go on where an earlier run stopped, and score it in the first process.

    Raises:
        InputError: lines of the manifest or recordings could not be used; everything else was, and is scored.
        RecordError: earlier transcripts were made with other settings.
        VerificationIncompleteError: a process died or was stopped; what was finished is kept.
    """
    normalisers.load(asked.normaliser, asked.spelling)  # a bad file is told before the work, not after it
    read = manifest.read(asked.manifest)
    where = shards.place()
    wanted = _wanted(read, ctc=asked.ctc)
    if where.first:
        _say_manifest(read, len(wanted))

    device = _own_device(asked.device, where)
    session = programs.verification(asked)
    session.device = device
    with shards.joined(where, device.kind) as group:
        found = _transcribe(asked, session, wanted, group)
    if found is None:
        return 0
    _show(asked, found)
    lost = len(found.failed) + len(read.problems)
    if lost:
        raise InputError(
            f"{len(read.problems)} lines of the manifest and {len(found.failed)} of {len(found.lines)} recordings "
            "could not be used; they are listed above and in no score",
            next="when they are there, the same command adds them",
        )
    return 0


def _own_device(asked: str, where: Place) -> Device:
    """The device of this process; `auto` finds the kind, and each process then takes a card of its own."""
    from model import device

    found = device.resolve(shards.device_for(asked, where))
    if asked == "auto" and where.size > 1 and found.kind != "cpu":
        return device.resolve(shards.device_for(found.kind, where))
    return found


def _wanted(read: Manifest, *, ctc: bool) -> list[Utterance]:
    """The utterances to transcribe: the encoder alone cannot translate."""
    wanted = [utterance for utterance in read.utterances if not ctc or utterance.target is None]
    if not wanted:
        raise UsageError(f"{read.path} holds translations only, which --ctc cannot make")
    return wanted


def _say_manifest(read: Manifest, wanted: int) -> None:
    for problem in read.problems:
        note(f"{read.path}, line {problem.line} is left out: {problem.reason}")
    if wanted < len(read.utterances):
        note(f"{len(read.utterances) - wanted} translations are left out: --ctc reads the encoder alone")


def _output(asked: argparse.Namespace, session: Session) -> Path:
    """The file of transcripts: as asked, else one by manifest, weights, device and dtype, so that runs do not mix."""
    if asked.output is not None:
        return Path(asked.output)
    loaded = session.model
    parts = [asked.manifest.stem, loaded.checkpoint.name, loaded.device.kind, loaded.dtype]
    name = "-".join([*parts, *(["ctc"] if asked.ctc else []), *(["punctuated"] if asked.punctuate else [])])
    return TRANSCRIPTS / (re.sub(r"[^\w.-]+", "-", name) + ".jsonl")


def _transcribe(
    asked: argparse.Namespace, session: Session, wanted: list[Utterance], group: Group
) -> Transcripts | None:
    from model.decoding import Decoding
    from verify.speech import evaluation

    decoding = Decoding(asked.max_new_tokens, asked.num_beams, programs.batch_size(asked))
    reader = session.reader(decoding, ctc=asked.ctc)
    output = _output(asked, session)
    header = session.speech_signature(
        reader, batch_size=asked.batch_size, window_seconds=asked.window, punctuate=asked.punctuate
    ).as_json()
    progress = Progress(group.place)
    with progress.shown(), _kept(output):
        found = evaluation.evaluate(
            reader,
            wanted,
            output,
            header,
            group,
            punctuate=asked.punctuate,
            limit_seconds=asked.window,
            on_start=progress.start,
            on_line=progress.line,
        )
    if found is not None:
        note(f"transcripts are in {output}")
    return found


@contextmanager
def _kept(output: Path) -> Iterator[None]:
    """Say at Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"finished transcripts are kept beside {output}; the same command goes on")
        raise


class Progress:
    """How far the first process is, on stderr: a bar where that is a terminal."""

    def __init__(self, where: Place) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._where = where
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (where.first and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task("utterances" if where.size == 1 else f"utterances, rank 0 of {where.size}")

    def shown(self) -> AbstractContextManager[Any]:
        return self._bar

    def start(self, plan: Plan, earlier: Mapping[str, int]) -> None:
        batches = list(plan.share(self._where.rank, self._where.size))
        keys = [plan.utterances[index].key for batch in batches for index in batch]
        self._bar.update(self._task, total=sum(key not in plan.done for key in keys))
        if self._where.first and plan.done:
            files = ", ".join(f"{count} in {name}" for name, count in earlier.items() if count)
            note(f"going on: {len(plan.done)} utterances are done ({files}), {plan.left()} are left")

    def line(self, line: Line) -> None:
        self._bar.advance(self._task)


def _show(asked: argparse.Namespace, found: Transcripts) -> None:
    """Print the scores and what they were made with; write them to --json."""
    from verify.speech import scores

    made = scores.score(found, normalisers.load(asked.normaliser, asked.spelling))
    print(score_tables(made))
    if asked.json is not None:
        value = {"schema": 1, "program": "eval.py", "command": ["python", *sys.argv], "scores": made}
        atomic.write_json(asked.json, {**value, "transcripts": [asdict(line) for line in found.lines]})


def _cell(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return "-"
    interval = "" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]"
    return f"{score['value']:.2f}{interval}"


def score_tables(made: Mapping[str, Any]) -> str:
    """The scores of `scores.score` for a terminal."""
    blocks = []
    for part, columns in (("transcription", ("wer", "cer", "accuracy")), ("translation", ("bleu", "chrf"))):
        groups = made[part]
        if groups:
            header = [part, "n", *(HEADINGS[column] for column in columns)]
            rows = [
                [group, str(found[columns[0]]["n"]), *(_cell(found[column]) for column in columns)]
                for group, found in groups.items()
            ]
            last = list(groups.values())[-1]
            signatures = [f"{column}: {last[column]['signature']}" for column in columns]
            blocks.append("\n".join([table(header, rows), *signatures]))
    signature = made["signature"]
    rtfx = number(made["rtfx"]["value"], ".2f")
    made_with = ", ".join(str(signature[name]) for name in ("weights_name", "device", "dtype") if name in signature)
    blocks.append(f"RTFx {rtfx}; {made_with}; data sha256 {signature['data_sha256']}")
    if made["notes"]:
        listed = [f"  {row['key']}: {'; '.join(row['notes'])}" for row in made["notes"][:NOTES_SHOWN]]
        more = len(made["notes"]) - len(listed)
        blocks.append("\n".join(["notes", *listed, *([f"  and {more} more, in the transcripts"] if more else [])]))
    if made["failed"]:
        head = f"failed, and in no score: {len(made['failed'])} of {made['utterances']}"
        lines = [f"  {row['key']}: {row['error'].splitlines()[0]}" for row in made["failed"]]
        blocks.append("\n".join([head, *lines]))
    return "\n\n".join(blocks)
