"""Reads recipe.toml, the one place that holds every choice behind the stand-in checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from env.toml import load_toml

RECIPE = Path(__file__).with_name("recipe.toml")

Range = tuple[float, float]


@dataclass(frozen=True)
class Data:
    """What is spoken, how often, and how the splits are kept apart; times in seconds, speeds in words a minute."""

    train_clips: int
    dev_clips: int
    test_clips: int
    long_test_clips: int
    single_share: float
    digits_share: float
    single_digit_share: float
    repeat_share: float
    test_single_share: float
    dev_percent: int
    test_percent: int
    pitch: tuple[int, int]
    speed: tuple[int, int]
    held_out_speeds: tuple[tuple[int, int], ...]
    resample: Range
    lead: Range
    tail: Range
    level: Range
    test_level: Range
    noise_share: float
    snr_db: Range
    long_seconds: Range
    gap_seconds: float


@dataclass(frozen=True)
class Voices:
    """espeak-ng voices of each language, and the speaker variants of each split."""

    languages: Mapping[str, tuple[str, ...]]
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Initialisation:
    """Standard deviations of the first weights."""

    initializer_range: float
    relative_positions: float
    depthwise_convolution: float


@dataclass(frozen=True)
class Tokenizer:
    """Byte-level BPE: entries, and how often each number word is seen when it is built."""

    vocabulary: int
    samples_per_number: int


@dataclass(frozen=True)
class Training:
    """What all stages share: batches, AdamW, losses, and how often to save and to evaluate (in steps)."""

    largest_batch: int
    betas: Range
    weight_decay: float
    clip_norm: float
    label_smoothing: float
    mid_layer_share: float
    save_every: int
    evaluate_every: int
    evaluation_clips: int


@dataclass(frozen=True)
class Augmentation:
    """Masks over log-mel features, and a random offset of each mel bin."""

    bands: int
    band_width: int
    spans: int
    span_frames: int
    level_noise: float


@dataclass(frozen=True)
class Stage:
    """One stage: what learns (rate 0 means frozen), for how many steps, from which batches.

    The rate rises over `warmup_steps`, stays flat to `flat_share` of the steps, and falls linearly to 2 %.
    """

    name: str
    purpose: str
    steps: int
    batch_seconds: float
    encoder_rate: float
    text_rate: float
    ctc_weight: float
    warmup_steps: int
    flat_share: float
    long_share: float
    augment_share: float


@dataclass(frozen=True)
class Tasks:
    """Which instructions a clip is trained with, besides transcription."""

    punctuated_share: float


@dataclass(frozen=True)
class Recipe:
    """All of recipe.toml. The three model tables are keyword arguments of the transformers configurations."""

    name: str
    seed: int
    data: Data
    voices: Voices
    encoder: Mapping[str, Any]
    projector: Mapping[str, Any]
    text: Mapping[str, Any]
    initialisation: Initialisation
    tokenizer: Tokenizer
    training: Training
    augmentation: Augmentation
    stages: tuple[Stage, ...]
    tasks: Tasks


def load_recipe(path: Path = RECIPE) -> Recipe:
    """The recipe at `path`.

    Raises:
        msgspec.ValidationError: a section or a value is missing or of another kind; it is named.
    """
    return msgspec.convert(load_toml(path), Recipe)
