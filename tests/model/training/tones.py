"""A stand-in for espeak-ng: every number is a tone, so that the training code is tested on any machine."""

from __future__ import annotations

import numpy as np

from model.audio import SAMPLE_RATE
from model.training.dataset import Clips, Split, synthesise
from model.training.recipe import Recipe
from model.training.speech import Utterance, Wave

SECONDS_PER_NUMBER = 0.15


def tone(utterance: Utterance) -> Wave:
    time = np.arange(int(SECONDS_PER_NUMBER * SAMPLE_RATE)) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * (200 + 30 * number) * time) for number in utterance.numbers]
    wave: Wave = np.concatenate(tones).astype(np.float32)
    return wave


def tone_clips(recipe: Recipe, split: Split, count: int) -> Clips:
    return synthesise(recipe, split, count, speak=tone, made_by="tones", progress=lambda line: None)
