"""Writes what is shipped: the checkpoint folder, and the held-out clips with their manifests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from env.atomic import write_json, write_text
from model import checksums
from model.audio import SAMPLE_RATE
from model.checkpoint import STAND_IN_FILE
from model.training.architecture import build_processor
from model.training.dataset import Clips
from model.training.number_words import LANGUAGES
from model.training.recipe import Recipe
from model.training.speech import Utterance
from model.training.tasks import Task

MANIFEST, HELD_OUT = "manifest.jsonl", "held-out.jsonl"
SCORES, CARD = "scores.json", "README.md"  # about the checkpoint, written after it and again by every scoring
QUICK_CLIPS = 48  # in manifest.jsonl: enough for a WER in a verification of half a minute


def write_checkpoint(model: Any, recipe: Recipe, folder: Path, facts: Mapping[str, object]) -> None:
    """Save the model in bfloat16 with its processor and STAND_IN.json; `facts` say how this one was trained.

    SHA256SUMS lists what is loaded. Scores and card are left out: were the list made again with them, it would vouch
    for whatever weights lay there on the day of the scoring.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    saved = type(model)(model.config)
    saved.load_state_dict(state)
    saved.to(torch.bfloat16).config.dtype = torch.bfloat16
    saved.eval().save_pretrained(folder)
    # Built anew: a tokenizer that was used saves the padding that it was last used with.
    build_processor(recipe).save_pretrained(folder)
    mark = {
        "schema": 1,
        "kind": "stand-in",
        "name": recipe.name,
        "trained": True,
        "source": "model/training/recipe.toml, made by python -m model.training",
        "model_card": CARD,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **facts,
    }
    write_json(folder / STAND_IN_FILE, mark)
    checksums.write(folder, leave_out=(SCORES, CARD))


def manifest_rows(name: str, seconds: float, utterance: Utterance) -> list[dict[str, object]]:
    """The manifest rows of one clip: its transcription, and its translation to English where it is not English."""
    audio = {"audio_filepath": name, "duration": round(seconds, 4)}
    made = asdict(utterance)
    made["lang"] = made.pop("language")
    rows = [{**audio, "text": Task("raw", utterance.language).answer([utterance.numbers]), "taskname": "asr", **made}]
    if utterance.language != "en":
        english = Task("translation", "en").answer([utterance.numbers])
        translation = {"text": english, "lang": utterance.language, "taskname": "ast", "target_lang": "en"}
        rows.append({**audio, **translation})
    return rows


def _write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_clips(clips: Clips, folder: Path) -> None:
    """Write every clip as 16-bit FLAC, held-out.jsonl over all, and manifest.jsonl over the first 48."""
    folder.mkdir(parents=True, exist_ok=True)
    everything: list[dict[str, object]] = []
    quick: list[dict[str, object]] = []
    for index, utterance in enumerate(clips.utterances):
        name = f"{utterance.language}-{index // len(LANGUAGES):03}.flac"
        samples = clips.samples[clips.offsets[index] : clips.offsets[index + 1]]
        soundfile.write(folder / name, samples, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)
        rows = manifest_rows(name, len(samples) / SAMPLE_RATE, utterance)
        everything += rows
        quick += rows if index < QUICK_CLIPS else []
    _write_rows(folder / HELD_OUT, everything)
    _write_rows(folder / MANIFEST, quick)


def read_clips(folder: Path, manifest: str = HELD_OUT) -> Clips:
    """The clips that `write_clips` wrote, sample for sample."""
    names = {field.name for field in fields(Utterance)}
    utterances, waves = [], []
    for line in (folder / manifest).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["taskname"] != "asr":
            continue
        values = {**row, "language": row["lang"], "numbers": tuple(row["numbers"])}
        utterances.append(Utterance(**{name: values[name] for name in names}))
        samples, _ = soundfile.read(folder / row["audio_filepath"], dtype="int16")
        waves.append(np.asarray(samples, np.int16))
    return Clips.join(utterances, waves)
