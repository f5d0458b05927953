"""`eval.py --manifest`, `--rescore` and `--compare`: speech to transcripts, transcripts to scores."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env import atomic
from env.errors import InputError, UsageError
from env.language import _, translate
from env.stack import ROOT
from model.console import Bar, note
from model.options import batch_size
from verify import programs
from verify.speech import chosen, manifest, normalisers, other_tools, shards
from verify.speech.evaluation import Asking
from verify.speech.manifest import Manifest, Utterance
from verify.speech.normalisers import Normaliser
from verify.speech.transcripts import Transcripts
from verify.tables import number, table

if TYPE_CHECKING:
    from model.device import Device
    from model.session import Session
    from verify.speech.evaluation import Plan
    from verify.speech.shards import Group, Place

NOTES_SHOWN = 20
HEADINGS = {"wer": "WER %", "cer": "CER %", "accuracy": _("accuracy %"), "bleu": "BLEU", "chrf": "chrF"}
PARTS = (
    ("transcription", _("transcription"), ("wer", "cer", "accuracy")),
    ("translation", _("translation"), ("bleu", "chrf")),
)
TRANSCRIPTS = ROOT / "results" / "transcripts"


def run(options: argparse.Namespace) -> int:
    """What eval.py does with speech: score or compare transcripts, or make them."""
    if options.rescore is not None:
        return rescore(options)
    return compare_files(options) if options.compare is not None else evaluate(options)


def rescore(options: argparse.Namespace) -> int:
    """Score a file of transcripts.

    Raises:
        RecordError, InputError: the file or the spelling map cannot be read.
    """
    transcribed = other_tools.read(options.rescore, options.references, options.language)
    if transcribed.dropped is not None:
        note(_("{path}: its last line is half written and left out", path=options.rescore))
    _show(options, transcribed)
    return 0


def compare_files(options: argparse.Namespace) -> int:
    """Compare two files of transcripts.

    Raises:
        RecordError, InputError: a file cannot be read, or they have nothing in common.
    """
    from verify.speech.compare import compare, report

    first, second = options.compare
    sides = other_tools.paired(
        *(other_tools.read(path, options.references, options.language) for path in options.compare)
    )
    normaliser = _normaliser(options)
    comparison = compare(*sides, normaliser, _names(*sides, first, second))
    print(report(comparison), end="")
    if options.json is not None:
        value = {"schema": 1, "program": "eval.py", "command": ["python", *sys.argv], "comparison": comparison.data}
        atomic.write_json(options.json, {**value, "signatures": [dict(side.header) for side in sides]})
    return 0


def _names(a: Transcripts, b: Transcripts, first: Path, second: Path) -> tuple[str, str]:
    """The devices' names where they tell the two apart, else the files'."""
    devices = tuple(str(side.header.get("device", "")).upper() for side in (a, b))
    if all(devices) and devices[0] != devices[1]:
        return devices[0], devices[1]
    return (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))


def evaluate(options: argparse.Namespace) -> int:
    """Transcribe a manifest, go on where an earlier run stopped, and score it in the first process.

    Raises:
        InputError: lines of the manifest or recordings could not be used; everything else was, and is scored.
        RecordError: earlier transcripts were made with other settings.
        VerificationIncompleteError: a process died or was stopped; what was finished is kept.
    """
    _normaliser(options)  # a bad file is told before the work, not after it
    where = shards.place()
    read = chosen.read(options, alone=where.size == 1)
    asking = chosen.asking(options)
    utterances = chosen.utterances(read, options, asking)
    if where.first:
        for text in chosen.notes(read, utterances):
            note(text)

    session = programs.verification(options)
    device = session.device = _own_device(options, where)
    asking = chosen.suited(asking, utterances, session.plus)
    with shards.joined(where, device.kind) as group:
        transcribed = _transcribe(options, session, read, utterances, asking, group)
    if transcribed is None:
        return 0
    _show(options, transcribed)
    if transcribed.failed or read.problems:
        raise InputError(
            _(
                "could not be used: lines of the manifest: {lines}; recordings: {failed} of {count}; they are listed "
                "above and in no score",
                lines=len(read.problems),
                failed=len(transcribed.failed),
                count=len(transcribed.lines),
            ),
            next=_("when the recordings are there and the lines mended, the same command adds them")
            if transcribed.failed
            else manifest.NEXT[max(manifest.by_kind(read.problems), key=len)[0].kind],
        )
    return 0


def _own_device(options: argparse.Namespace, where: Place) -> Device:
    """The device of this process; `auto` finds the kind, and each process then takes a card of its own.

    Raises:
        UsageError: one model is to lie over several cards in each of several processes.
    """
    from model import cards, device

    name: str = options.device
    if options.device_map is not None:
        if where.size > 1:
            raise UsageError(
                _("--device-map takes the cards that torchrun's {count} processes would share", count=where.size),
                next=_("one of the two: a card for each process, or one process over all cards"),
            )
        return cards.resolve(name)
    own = device.resolve(shards.device_for(name, where))
    if name == "auto" and where.size > 1 and own.kind != "cpu":
        return device.resolve(shards.device_for(own.kind, where))
    return own


def _output(options: argparse.Namespace, session: Session, read: Manifest, asking: Asking) -> Path:
    """The file of transcripts: --output, else one by manifest, weights, device, dtype and what is asked.

    The manifest's digest is in its name: two manifests that are named alike do not share a file.
    """
    if options.output is not None:
        return Path(options.output)
    loaded = session.model
    parts = [read.name, read.sha256[:12], loaded.checkpoint.name, loaded.device.kind, loaded.dtype]
    parts += ["ctc"] if options.ctc else []
    parts += ["punctuated"] if options.punctuate else []
    parts += [] if options.channels == "mix" else [f"channel-{options.channels}"]
    parts += [] if options.limit is None else [f"first-{options.limit}"]
    words = [asking.language, *asking.keywords, asking.prompt, options.task, options.target]
    parts += ["asked-" + sha256(repr(words).encode()).hexdigest()[:8]] if any(words) else []
    return TRANSCRIPTS / (re.sub(r"[^\w.-]+", "-", "-".join(parts)) + ".jsonl")


def _transcribe(
    options: argparse.Namespace,
    session: Session,
    read: Manifest,
    utterances: list[Utterance],
    asking: Asking,
    group: Group,
) -> Transcripts | None:
    from model.decoding import Decoding
    from model.sources import Source
    from model.warmup import warm_up
    from verify.speech import evaluation

    decoding = Decoding(options.max_new_tokens, options.num_beams, batch_size(options))
    reader = session.reader(decoding, ctc=options.ctc)
    sources = [Source(utterance.path, utterance.key, utterance.piece) for utterance in utterances]
    warm_up(reader, sources, asking.prompt_for(utterances[0]), options.warmup or 0, options.window)
    output = _output(options, session, read, asking)
    header = session.speech_signature(
        reader, batch_size=options.batch_size, window_seconds=options.window, punctuate=options.punctuate
    ).as_json()
    where = group.place
    label = _("utterances") if where.size == 1 else _("utterances, rank 0 of {size}", size=where.size)
    bar = Bar(label, visible=where.first)

    def on_start(plan: Plan, earlier: Mapping[str, int]) -> None:
        bar.set_total(plan.left_for(where))
        if where.first and earlier:
            _note_going_on(plan, earlier)

    with bar, _kept(output):
        transcribed = evaluation.evaluate(
            reader,
            utterances,
            output,
            header,
            group,
            asking=asking,
            limit_seconds=options.window,
            on_start=on_start,
            on_line=lambda line: bar.advance(),
            on_replaced=_note_replaced,
        )
    if transcribed is not None:
        note(_("transcripts are in {path}", path=output))
    return transcribed


def _note_going_on(plan: Plan, earlier: Mapping[str, int]) -> None:
    files = ", ".join(f"{count} in {name}" for name, count in earlier.items() if count)
    note(
        _(
            "going on: {done} texts of earlier runs stand ({files}): same audio, segment, prompt, weights, settings; "
            "{left} are left",
            done=len(plan.done),
            files=files or "0",
            left=plan.left(),
        )
    )
    reasons = plan.reasons()
    if reasons:
        note(_("texts of earlier runs that do not stand, and are made again: {reasons}", reasons=reasons))


def _note_replaced(place: Path) -> None:
    note(_("an earlier file held other texts: it is kept as {place}", place=place))


@contextmanager
def _kept(output: Path) -> Iterator[None]:
    """Say at Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        note(_("finished transcripts are kept beside {path}; the same command goes on", path=output))
        raise


def _show(options: argparse.Namespace, transcribed: Transcripts) -> None:
    """Print the scores and what they were made with; write them to --json."""
    from verify.speech import edits, scores

    normaliser = _normaliser(options)
    spoken = [line for line in transcribed.scored if line.target is None]
    if not normaliser.spelling.words and normaliser.name == "whisper" and any(line.language == "en" for line in spoken):
        note(_("no map of British to American spelling: pip install whisper-normalizer, or --spelling FILE"))
    with Bar(_("scoring"), len(spoken)) as bar:
        counted = edits.count(spoken, normaliser, bar.advance)
        made = scores.score(
            transcribed,
            normaliser,
            counted,
            japanese=scores.MECAB if options.ja_mecab else scores.BLEU_TOKENIZERS["ja"],
        )
    print(score_tables(made))
    if options.json is not None:
        value = {"schema": 1, "program": "eval.py", "command": ["python", *sys.argv], "scores": made}
        each = counted.by_key()
        lines = [{**asdict(line), **each.get(line.key, {})} for line in transcribed.lines]
        atomic.write_json(options.json, {**value, "transcripts": lines})


def _normaliser(options: argparse.Namespace) -> Normaliser:
    """The normaliser of the options.

    Raises:
        InputError, UsageError: its files cannot be read, or the options do not go together.
        EnvironmentMissingError: what --ja-mecab needs is not installed.
    """
    if options.ja_mecab:
        from verify.speech import scores

        scores.mecab()
    return normalisers.load(options.normaliser, options.spelling, options.leaderboard)


def _cell(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return "-"
    interval = "" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]"
    return f"{score['value']:.2f}{interval}"


def _signatures(groups: Mapping[str, Mapping[str, Any]], column: str) -> list[str]:
    """What a column's figures were made with: once, where the groups differ in nothing but their number, else for each.

    German is not scored as Chinese is: BLEU has a tokenizer for each.
    """
    alike: dict[str, list[str]] = {}
    for group, figures in groups.items():
        fields = figures[column]["signature"].split("|")
        alike.setdefault("|".join(each for each in fields if not each.startswith("n:")), []).append(group)
    if len(alike) == 1:
        return [f"{column}: {list(groups.values())[-1][column]['signature']}"]
    return [f"{column} ({', '.join(names)}): {text}" for text, names in alike.items()]


def score_tables(made: Mapping[str, Any]) -> str:
    """The scores of `scores.score` for a terminal, in the user's language."""
    remarks = "\n".join(map(translate, made.get("remarks", [])))
    blocks = [remarks] if remarks else []
    for part, heading, columns in PARTS:
        groups = made[part]
        if groups:
            header = [heading, "n", *(HEADINGS[column] for column in columns)]
            rows = [
                [group, str(figures[columns[0]]["n"]), *(_cell(figures[column]) for column in columns)]
                for group, figures in groups.items()
            ]
            signatures = [line for column in columns for line in _signatures(groups, column)]
            blocks.append("\n".join([table([translate(cell) for cell in header], rows), *signatures]))
    signature = made["signature"]
    rtfx = number(made["rtfx"]["value"], ".2f")
    made_with = ", ".join(str(signature[name]) for name in ("weights_name", "device", "dtype") if name in signature)
    blocks.append(f"RTFx {rtfx}; {made_with}; data sha256 {signature['data_sha256']}")
    if made["notes"]:
        listed: list[str] = [
            _("  {key}: {notes}", key=row["key"], notes=row["notes"]) for row in made["notes"][:NOTES_SHOWN]
        ]
        more = len(made["notes"]) - len(listed)
        listed += [_("  and {more} more, in the transcripts", more=more)] if more else []
        blocks.append("\n".join(map(translate, [_("notes"), *listed])))
    if made["failed"]:
        head = _("failed, and in no score: {failed} of {count}", failed=len(made["failed"]), count=made["utterances"])
        lines = [f"  {row['key']}: {translate(row['error']).splitlines()[0]}" for row in made["failed"]]
        blocks.append("\n".join([translate(head), *lines]))
    return "\n\n".join(blocks)
