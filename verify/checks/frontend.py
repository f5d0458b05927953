"""The front end against an independent one: the processor's log-mel features and our resampler, on the CPU.

Every device is fed what these give, and no other check would see both a model and its reference fed alike wrongly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from env.errors import InputError, InstallError
from env.language import Message, _
from env.stack import ROOT
from env.toml import load_toml
from model import audio
from model.decoding import PROCESSOR_FILES
from model.signature import Signature
from verify.checks.speech import CLIPS, MANIFEST
from verify.reference import mel, numerics
from verify.reference.numerics import Array, Comparison
from verify.run.figures.frontend import FrontendFigures
from verify.run.records import Outcome, failed, passed, skipped
from verify.run.verification import Verification
from verify.speech import manifest

LIMITS = Path(__file__).with_name("frontend.toml")
FEATURES, RESAMPLED = _("features"), _("resampled recordings")
ORACLE_LIMIT_S = 120.0  # librosa's import takes 4 s, and much longer where nothing of it is in the page cache
COMPUTED_BY = ("transformers", "torchaudio", "soxr")


@dataclass(frozen=True)
class Reading:
    """One recording: what ours gave, what the oracle did, and how far they are from each other."""

    name: str
    shape: tuple[int, ...]
    expected: tuple[int, ...]
    comparison: Comparison | None  # None where shapes differ


def check(session: Verification, folder: Path = CLIPS) -> Outcome:
    """The processor's features of the bundled clips are librosa's, and what is resampled a polyphase filter's."""
    checkpoint = session.checkpoint
    missing = [name for name in PROCESSOR_FILES if not (checkpoint.folder / name).exists()]
    if missing:
        return skipped(_("{checkpoint} lacks {files}: it cannot hear", checkpoint=checkpoint.name, files=missing))
    clips = choose(folder / MANIFEST)
    with TemporaryDirectory(prefix="frontend-") as place:
        truths = Path(place)
        versions = ask_oracle(clips, truths)
        extract = session.processor.audio_processor
        features = [_features(extract, clip, truths) for clip in clips]
        resampled = [_resampled(mel.recording_at(truths, rate), truths) for rate in mel.RATES[: len(clips)]]
    limits = load_toml(LIMITS)
    measured = figures(features, resampled, limits)
    problems = [
        *problems_of(features, limits["features"], FEATURES, "librosa"),
        *problems_of(resampled, limits["resampled"], RESAMPLED, "scipy"),
    ]
    used = {**{name: version(name) for name in COMPUTED_BY}, **versions}
    signature = Signature(versions=used, n=len(features))
    if problems:
        return failed(problems, measured, signature)
    reason = _(
        "features of {n} recordings are librosa's up to {rel_l2:.1e}, {resampled} resampled ones a polyphase filter's "
        "up to {resampled_rel_l2:.1e}",
        n=len(features),
        rel_l2=measured.features_rel_l2,
        resampled=len(resampled),
        resampled_rel_l2=measured.resampled_rel_l2,
    )
    return passed(reason, measured, signature)


def choose(path: Path) -> list[Path]:
    """The longest recording of every language of a manifest, languages in its order, then the shortest of each.

    Raises:
        InputError: a line of the manifest cannot be used.
    """
    read = manifest.read(path)
    if read.problems:
        line, reason = read.problems[0].line, read.problems[0].reason
        raise InputError(_("{path}: line {line}: {reason}", path=str(path), line=line, reason=reason))
    by_language: dict[str, list[tuple[float, Path]]] = {}
    for utterance in read.utterances:
        length = utterance.duration or audio.seconds(utterance.path)
        by_language.setdefault(utterance.language, []).append((length, utterance.path))
    chosen = [ends(recordings)[1] for ends in (max, min) for recordings in by_language.values()]
    return list(dict.fromkeys(chosen))


def ask_oracle(clips: Sequence[Path], folder: Path, limit: float = ORACLE_LIMIT_S) -> dict[str, str]:
    """Have verify/reference/mel.py write into `folder` what has to come out; the versions of what computed it.

    Raises:
        InstallError: it did not, within `limit` seconds.
    """
    command = [sys.executable, "-m", "verify.reference.mel", "--folder", str(folder), *map(str, clips)]
    # librosa compiles what it imports, 20 s of CPU the first time. (NUMBA_DISABLE_JIT=1 spares that only where it was
    # compiled before: without a kept result numba 0.68 fails in guvectorize.)
    kept = os.environ.get("NUMBA_CACHE_DIR") or str(ROOT / ".cache" / "numba")
    environ = dict(os.environ, NUMBA_CACHE_DIR=kept, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=limit, check=False
        )
        lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        last = lines[-1] if lines else ""
        why = _("exit code {code}: {line}", code=done.returncode, line=last)
    except subprocess.TimeoutExpired:
        lines, why = [], _("no answer in {limit:g} s", limit=limit)
    answer = next((line for line in lines if line.startswith(mel.ANSWER)), None)
    if answer is None:
        raise InstallError(
            _("the process that computes the front end with librosa failed: {why}", why=why), next="nox -s setup"
        )
    versions: dict[str, str] = json.loads(answer.removeprefix(mel.ANSWER))
    return versions


def _features(extract: Any, clip: Path, truths: Path) -> Reading:
    """What the processor's feature extractor makes of a clip, as the programs feed it: read by model/audio.py."""
    samples = torch.from_numpy(audio.read(clip).samples)
    ours = extract(samples, device="cpu")["input_features"][0].numpy()
    return compare(clip.name, ours, np.load(mel.truth_of(clip, truths)))


def _resampled(path: Path, truths: Path) -> Reading:
    """What model/audio.py makes of a recording at another rate. Whether the last, partial sample is there is open."""
    ours, truth = audio.read(path).samples, np.load(mel.truth_of(path, truths))
    if abs(len(ours) - len(truth)) == 1:
        n = min(len(ours), len(truth))
        ours, truth = ours[:n], truth[:n]
    return compare(f"{path.stem} Hz", ours, truth)


def compare(name: str, ours: Any, truth: Array) -> Reading:
    comparison = numerics.compare(ours, truth) if ours.shape == truth.shape else None
    return Reading(name, tuple(ours.shape), tuple(truth.shape), comparison)


def worst(readings: Iterable[Reading], measure: str) -> Reading:
    """The reading that is farthest off: what cannot be compared, then what is not finite, then the largest."""
    return max(readings, key=lambda reading: _value(reading, measure))


def _value(reading: Reading, measure: str) -> float:
    value = getattr(reading.comparison, measure, None)
    return float("inf") if value is None else float(value)


def problems_of(readings: Sequence[Reading], limits: Mapping[str, Any], what: Message, oracle: str) -> list[Message]:
    """What is beyond the limits, a measure a sentence, the worst recording named."""
    for reading in readings:
        if reading.comparison is None:
            shape, expected = list(map(str, reading.shape)), list(map(str, reading.expected))
            return [
                _("{what}: {name} has shape {shape}, {oracle}'s {expected}", what=what, name=reading.name,
                  shape="×".join(shape), oracle=oracle, expected="×".join(expected))
            ]  # fmt: skip
    problems = []
    for measure in (name for name in limits if name != "source"):
        beyond = [reading for reading in readings if not _value(reading, measure) <= limits[measure]]
        if beyond:
            farthest = worst(beyond, measure)
            problems.append(
                _("{what}: {n} of {total} differ from {oracle}'s, {name} the most: {measure} {value:.1e} > {limit:g}",
                  what=what, n=len(beyond), total=len(readings), oracle=oracle, name=farthest.name, measure=measure,
                  value=_value(farthest, measure), limit=limits[measure])
            )  # fmt: skip
    return problems


def figures(
    features: Sequence[Reading], resampled: Sequence[Reading], limits: Mapping[str, Mapping[str, Any]]
) -> FrontendFigures:
    """The worst differences, with the limits and the recordings that they are of."""
    data: dict[str, Any] = {
        "clips": [reading.name for reading in features],
        "rates": list(mel.RATES[: len(resampled)]),
    }
    for kind, readings in (("features", features), ("resampled", resampled)):
        for measure in (name for name in limits[kind] if name != "source"):
            farthest = worst(readings, measure)
            value = _value(farthest, measure)
            data[f"{kind}_{measure}"] = value if np.isfinite(value) else None
            data[f"{kind}_{measure}_limit"] = limits[kind][measure]
            data[f"{kind}_{measure}_worst"] = farthest.name
    return FrontendFigures(**data, limit_sources=[limits[kind]["source"] for kind in ("features", "resampled")])
