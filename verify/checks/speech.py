"""Level 2, in words: the bundled clips become text, are scored, and say what they say on a CPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from env.errors import InputError, RecordError
from env.stack import ROOT
from model.checkpoint import Checkpoint
from model.decoding import PROCESSOR_FILES, Decoding
from model.signature import Signature
from verify.run.records import Outcome, Status
from verify.run.verification import Verification
from verify.speech import evaluation, manifest, normalisers, scores, transcripts
from verify.speech.manifest import Utterance
from verify.speech.transcripts import Line, Transcripts

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CLIPS = ROOT / "model" / "data" / "clips"
MANIFEST = "manifest.jsonl"
REFERENCE = "reference.jsonl"  # eval.py's transcripts of MANIFEST on a CPU in float32
HELD_OUT_SCORES = "scores.json"  # in the checkpoint's folder, written when it was trained
BATCH = 8
# The texts are numbers in words, written as the clips' references are: whatever differs is an error.
NORMALISER = "none"
NORMALISER_FOREIGN = "whisper"  # of weights that were not trained on these: they may write digits, case, punctuation


def check(session: Verification, folder: Path = CLIPS) -> Outcome:
    """Transcripts of the bundled clips, WER per language, BLEU of translations; no worse than the checkpoint is known
    to be, and the texts of a CPU where they are known.
    """
    checkpoint = session.checkpoint
    missing = [name for name in PROCESSOR_FILES if not (checkpoint.folder / name).exists()]
    if missing:
        return Outcome(Status.SKIP, f"{checkpoint.name} has no {' and no '.join(missing)}: it cannot hear")
    read = manifest.read(folder / MANIFEST)
    if read.problems:
        raise InputError(f"{read.path}: line {read.problems[0].line}: {read.problems[0].reason}")
    reader = session.reader(Decoding(batch_size=BATCH))
    taken_with = session.speech_signature(reader, card=True, batch=BATCH, n=len(read.utterances))  # one process
    lines = evaluation.transcribe(reader, read.utterances)
    spelled = _spelled(session, read.utterances)
    held_out = _held_out(checkpoint)
    normaliser = normalisers.load(NORMALISER if held_out else NORMALISER_FOREIGN)
    made = scores.score(Transcripts(taken_with.as_json(), tuple(lines)), normaliser)
    reference = _reference(folder, made["signature"])
    dtype = session.model.dtype
    limits = _limits(held_out, reference, dtype)
    agreement = _agreement(lines, reference)
    data = {
        "transcripts": [_row(line, reference, spelled) for line in lines],
        **{name: made[name] for name in ("transcription", "translation", "rtfx", "utterances", "failed", "notes")},
        "held_out": held_out or None,
        "agreement": agreement,
        "limits": limits,
    }
    problems = judge(made, agreement, limits) + ([] if held_out else implausible(lines))
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, Signature.from_json(made["signature"]))
    unknown = "" if held_out else "reported, not judged (no scores of these weights are known): "
    return Outcome(Status.PASS, unknown + _summary(made, agreement), data, Signature.from_json(made["signature"]))


def implausible(lines: Sequence[Line]) -> list[str]:
    """What no trained model does with clear recordings, whatever its weights: most of them give no text, or one that
    does not end.
    """
    most = len(lines) * _table()["plausible"]["at_most"]
    silent = [line.key for line in lines if line.hypothesis is not None and not line.hypothesis.strip()]
    endless = [line.key for line in lines if line.endless]
    said = {"give no text": silent, "give a text that does not end": endless}
    return [f"{len(keys)} of {len(lines)} recordings {what}" for what, keys in said.items() if len(keys) > most]


def judge(made: Mapping[str, Any], agreement: Mapping[str, Any] | None, limits: Mapping[str, Any]) -> list[str]:
    """What is wrong with `made`, the scores. A rate is too high when its whole 95 % interval is above the limit."""
    problems = [f"{row['key']}: {row['error']}" for row in made["failed"]]
    wer = made["transcription"].get(scores.ALL, {}).get("wer")
    bleu = made["translation"].get(f"{scores.ALL}-en", {}).get("bleu")
    ceiling, floor = limits.get("wer_at_most"), limits.get("bleu_at_least")
    if wer and ceiling is not None and _bound(wer, "low") > ceiling:
        problems.append(f"WER {wer['value']:.1f} % is above {ceiling:.1f} %")
    if bleu and floor is not None and _bound(bleu, "high") < floor:
        problems.append(f"BLEU {bleu['value']:.1f} is below {floor:.1f}")
    least = limits.get("agreement_at_least")
    if agreement is not None and least is not None and agreement["same"] < least * agreement["of"]:
        problems.append(f"{agreement['same']} of {agreement['of']} texts are the CPU's, {least:.0%} needed")
    return problems


def _bound(score: Mapping[str, Any], side: str) -> float:
    return float(score["value"] if score[side] is None else score[side])


def _spelled(session: Verification, utterances: Sequence[Utterance]) -> dict[str, str | None]:
    """What the CTC head alone reads in each recording: it tells a deaf encoder from a wrong language model."""
    reader = session.reader(Decoding(), ctc=True)
    recordings = {utterance.audio: utterance for utterance in utterances}
    return {line.audio: line.hypothesis for line in evaluation.transcribe(reader, list(recordings.values()))}


def _held_out(checkpoint: Checkpoint) -> dict[str, float]:
    """WER and BLEU that the checkpoint had on its held-out clips, where its folder says so."""
    path = checkpoint.folder / HELD_OUT_SCORES
    if not path.exists():
        return {}
    tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    return {"wer": float(tasks["raw"]["all"]["wer"]), "bleu": float(tasks["to-english"]["all"]["bleu"])}


def _reference(folder: Path, signature: Mapping[str, Any]) -> dict[str, Line]:
    """The bundled texts of the same weights on a CPU; of other weights they say nothing.

    Raises:
        RecordError: they are of other clips than the manifest's.
    """
    if not (folder / REFERENCE).exists():
        return {}
    found = transcripts.read(folder / REFERENCE)
    if found.header.get("weights_sha256") != signature["weights_sha256"]:
        return {}
    if transcripts.data_sha256(found.lines) != signature["data_sha256"]:
        raise RecordError(
            f"{folder / REFERENCE}: was made from other clips or texts", next="make it again with eval.py"
        )
    return {line.key: line for line in found.lines}


def _limits(held_out: Mapping[str, float], reference: Mapping[str, Line], dtype: str) -> dict[str, Any]:
    """The limits that apply, with their sources; of a checkpoint without scores or texts of its own there are none."""
    table = {name: row for name, row in _table().items() if name != "plausible"}
    limits: dict[str, Any] = {}
    if held_out:
        limits["wer_at_most"] = held_out["wer"] + table["word_error_rate"]["points"]
        limits["bleu_at_least"] = held_out["bleu"] - table["bleu"]["points"]
    if reference:
        limits["agreement_at_least"] = table["agreement"][dtype]
    return {**limits, "sources": {name: row["source"] for name, row in table.items()}} if limits else {}


def _table() -> dict[str, Any]:
    with (Path(__file__).parents[1] / "speech" / "limits.toml").open("rb") as file:
        return tomllib.load(file)


def _agreement(lines: Sequence[Line], reference: Mapping[str, Line]) -> dict[str, Any] | None:
    if not reference:
        return None
    differ = [line.key for line in lines if line.hypothesis != reference[line.key].hypothesis]
    return {"same": len(lines) - len(differ), "of": len(lines), "differ": differ}


def _row(line: Line, reference: Mapping[str, Line], spelled: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        "clip": line.audio,
        "audio_sha256": line.audio_sha256,
        "language": line.language,
        "target": line.target,
        "reference": line.reference,
        "hypothesis": line.hypothesis,
        "ctc": spelled[line.audio],
        "cpu": reference[line.key].hypothesis if reference else None,
        "correct": line.hypothesis == line.reference,
    }


def _summary(made: Mapping[str, Any], agreement: Mapping[str, Any] | None) -> str:
    parts = []
    if made["transcription"]:
        parts.append(f"WER {made['transcription'][scores.ALL]['wer']['value']:.1f} %")
    for name, group in made["translation"].items():
        if name.startswith(scores.ALL):
            parts.append(f"BLEU into {name.rpartition('-')[2]} {group['bleu']['value']:.1f}")
    if agreement is not None:
        parts.append(f"{agreement['same']} of {agreement['of']} texts as on a CPU")
    return ", ".join(parts)
