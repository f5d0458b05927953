"""Level 2, in words: the bundled clips become text, are scored, and give the text that they give on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from env import elsewhere
from env.errors import InputError, RecordError
from env.language import Message, _
from env.stack import ROOT
from model import prompts
from model.checkpoint import Checkpoint
from model.decoding import PROCESSOR_FILES, Decoding
from model.signature import Signature
from verify.checks.words import measure
from verify.reference import words
from verify.run import spoken
from verify.run.damage import convert
from verify.run.figures.speech import (
    CpuAgreement,
    HeldOutFigures,
    SpeechFigures,
    SpeechLimits,
    TranscriptFigures,
)
from verify.run.records import Outcome, failed, passed, skipped
from verify.run.verification import Verification
from verify.speech import evaluation, manifest, normalisers, scores, transcripts
from verify.speech.evaluation import Asking
from verify.speech.manifest import Utterance
from verify.speech.transcripts import Line, Transcripts

CLIPS = ROOT / "model" / "data" / "clips"
MANIFEST = "manifest.jsonl"
REFERENCE = "reference.jsonl"  # eval.py's transcripts of MANIFEST on a CPU in float32
HELD_OUT_SCORES = words.KNOWN_SCORES
BATCH = 8
# The texts are numbers in words, written as the clips' references are: whatever differs is an error.
NORMALISER = "none"
NORMALISER_FOREIGN = "whisper"  # of weights that were not trained on these: they may write digits, case, punctuation


def check(session: Verification, folder: Path = CLIPS) -> Outcome:
    """Transcripts of the bundled clips, WER per language, BLEU of translations; no worse than the checkpoint is known
    to be, and the texts of a CPU where they are known. Of weights without known scores, one clip a language is held
    against the reference's texts (words.py).
    """
    checkpoint = session.checkpoint
    missing = [name for name in PROCESSOR_FILES if not (checkpoint.folder / name).exists()]
    if missing:
        return skipped(_without(checkpoint.name, missing))
    clips = manifest.read(folder / MANIFEST)
    if clips.problems:
        first = clips.problems[0]
        raise InputError(_("{path}: line {line}: {reason}", path=clips.path, line=first.line, reason=first.reason))
    reader = session.reader(Decoding(batch_size=BATCH))
    asking = Asking(plus=session.plus)
    asked = [each for each in clips.utterances if not asking.plus or _of_plus(each)]
    taken_with = session.speech_signature(reader, card=True, batch=BATCH, n=len(asked))  # one process
    lines = evaluation.transcribe(reader, asked, asking=asking)
    spelled = _spelled(session, asked)
    held_out = _held_out(checkpoint)
    normaliser = normalisers.load(NORMALISER if held_out else NORMALISER_FOREIGN)
    made = scores.score(Transcripts(taken_with.as_json(), tuple(lines)), normaliser)
    reference = _reference(folder, made["signature"])
    figures = convert(
        {
            "transcripts": [row(line, reference, spelled) for line in lines],
            **{name: made[name] for name in ("transcription", "translation", "rtfx", "utterances", "failed", "notes")},
            "held_out": held_out,
            "agreement": _agreement(lines, reference),
            "limits": _limits(held_out, reference, session.model.dtype),
        },
        SpeechFigures,
    )
    if words.needed(checkpoint):
        figures = structs.replace(figures, words=measure(session))
    signature = Signature.from_json(made["signature"])
    if problems := spoken.judge(figures):
        return failed(problems, figures, signature)
    return passed(_reason(figures), figures, signature)


def _of_plus(utterance: Utterance) -> bool:
    """Whether granite_speech_plus was trained for it: it neither translates nor punctuates, and has no Japanese."""
    return utterance.target is None and not utterance.punctuate and utterance.language in prompts.spoken(plus=True)


def _without(name: str, missing: Sequence[str]) -> Message:
    if len(missing) == 1:
        return _("{name} has no {file}: it cannot hear", name=name, file=missing[0])
    one, other = missing
    return _("{name} has no {file} and no {other}: it cannot hear", name=name, file=one, other=other)


def _spelled(session: Verification, utterances: Sequence[Utterance]) -> dict[str, str | None]:
    """What the CTC head alone reads in each recording: it tells a deaf encoder from a wrong language model."""
    reader = session.reader(Decoding(), ctc=True)
    recordings = {utterance.audio: utterance for utterance in utterances}
    return {line.audio: line.hypothesis for line in evaluation.transcribe(reader, list(recordings.values()))}


def _held_out(checkpoint: Checkpoint) -> HeldOutFigures | None:
    """What the checkpoint scored on its held-out clips, where its folder has it."""
    path = checkpoint.folder / HELD_OUT_SCORES
    if not path.exists():
        return None
    tasks = elsewhere.read_json(path, "settings")["tasks"]
    return HeldOutFigures(wer=float(tasks["raw"]["all"]["wer"]), bleu=float(tasks["to-english"]["all"]["bleu"]))


def _reference(folder: Path, signature: Mapping[str, Any]) -> dict[str, Line]:
    """The bundled texts of the same weights on a CPU; of other weights they tell nothing.

    Raises:
        RecordError: they are of other clips than the manifest's.
    """
    path = folder / REFERENCE
    if not path.exists():
        return {}
    bundled = transcripts.read(path)
    if bundled.header.get("weights_sha256") != signature["weights_sha256"]:
        return {}
    if transcripts.data_sha256(bundled.lines) != signature["data_sha256"]:
        raise RecordError(
            _("{path}: was made from other clips or texts", path=path), next=_("make it again with eval.py")
        )
    return {line.key: line for line in bundled.lines}


def _limits(held_out: HeldOutFigures | None, reference: Mapping[str, Line], dtype: str) -> SpeechLimits:
    """The limits that apply, with their sources; of a checkpoint without scores or texts of its own there are none."""
    table = {name: row for name, row in spoken.table().items() if name != "plausible"}
    if not held_out and not reference:
        return SpeechLimits()
    return SpeechLimits(
        wer_at_most=held_out.wer + table["word_error_rate"]["points"] if held_out else UNSET,
        bleu_at_least=held_out.bleu - table["bleu"]["points"] if held_out else UNSET,
        agreement_at_least=table["agreement"][dtype] if reference else UNSET,
        sources={name: row["source"] for name, row in table.items()},
    )


def _agreement(lines: Sequence[Line], reference: Mapping[str, Line]) -> CpuAgreement | None:
    if not reference:
        return None
    differ = [line.key for line in lines if line.hypothesis != reference[line.key].hypothesis]
    return CpuAgreement(same=len(lines) - len(differ), of=len(lines), differ=differ)


def row(line: Line, reference: Mapping[str, Line], spelled: Mapping[str, str | None]) -> TranscriptFigures:
    """One recording's text beside its reference, the CPU's, and what the CTC head alone reads."""
    return TranscriptFigures(
        clip=line.audio,
        audio_sha256=line.audio_sha256,
        language=line.language,
        target=line.target,
        reference=line.reference or "",
        hypothesis=line.hypothesis,
        ctc=spelled[line.audio],
        cpu=reference[line.key].hypothesis if reference else None,
        correct=line.hypothesis == line.reference,
        endless=line.endless,
    )


def _reason(figures: SpeechFigures) -> Message:
    """The scores in one line. Of weights of which no scores are known the texts are held against the reference's, and
    the scores, against what is said in the clips, are not judged.
    """
    summary = _summary(figures)
    if figures.words is None:
        return summary
    rows, distance = figures.words.rows, figures.words.distance
    return _(
        "{same} of {all} texts the reference's on the CPU ({ties} differ after a tie), {distance:.1f} % of its words "
        "differ; against what is said, not judged: {summary}",
        same=sum(row.text == row.cpu for row in rows),
        all=len(rows),
        ties=sum(row.text != row.cpu for row in rows),
        distance=distance.words or 0.0,
        summary=summary,
    )


def _summary(figures: SpeechFigures) -> Message:
    parts: list[Message] = []
    if figures.transcription:
        parts.append(_("WER {wer:.1f} %", wer=figures.transcription[scores.ALL].wer.value))
    for name, group in figures.translation.items():
        if name.startswith(scores.ALL):
            target = name.rpartition("-")[2]
            parts.append(_("BLEU into {language} {bleu:.1f}", language=target, bleu=group.bleu.value))
    if figures.agreement is not None:
        same, count = figures.agreement.same, figures.agreement.of
        parts.append(_("{same} of {all} texts as on a CPU", same=same, all=count))
    return reduce(lambda one, other: _("{one}, {other}", one=one, other=other), parts)
