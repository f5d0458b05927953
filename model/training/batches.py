"""Batches of clips of exactly equal length, so that training sees no padding: single clips, and joined ones.

A batch is a function of (seed, stage, step): training can stop and go on anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.audio import SAMPLE_RATE
from model.training.dataset import Clips
from model.training.number_words import LANGUAGES, ctc_transcript
from model.training.recipe import Augmentation, Data, Stage
from model.training.speech import Wave, add_noise
from model.training.tasks import Task, targets

_BUCKET = SAMPLE_RATE // 10  # clips within 0.1 s of each other share a batch


@dataclass(frozen=True)
class Batch:
    """`waves` float32 [B, samples]; for each row its language and the number sequences spoken in it, in order."""

    waves: Wave
    languages: tuple[str, ...]
    spoken: tuple[tuple[tuple[int, ...], ...], ...]

    def ctc_labels(self) -> list[list[int]]:
        """Code points that the CTC head should spell, row by row."""
        return [
            [ord(letter) for letter in " ".join(ctc_transcript(language, numbers) for numbers in spoken)]
            for language, spoken in zip(self.languages, self.spoken, strict=True)
        ]

    def draw_tasks(self, rng: np.random.Generator, punctuated_share: float) -> list[list[Task]]:
        """Transcription for every row, then a second task for every row."""
        second = []
        for language in self.languages:
            if rng.random() < punctuated_share:
                second.append(Task("punctuated", language))
            else:
                second.append(Task("translation", str(rng.choice(targets(language)))))
        return [[Task("raw", language) for language in self.languages], second]


class Sampler:
    """Draws batches from the clips of one split."""

    def __init__(self, clips: Clips, data: Data, largest_batch: int) -> None:
        self._clips, self._data, self._largest = clips, data, largest_batch
        buckets = -(-clips.lengths // _BUCKET)
        self._buckets = {int(bucket): np.flatnonzero(buckets == bucket) for bucket in np.unique(buckets)}
        self._sizes = np.array([len(members) for members in self._buckets.values()])
        languages = np.array([utterance.language for utterance in clips.utterances])
        self._by_language = {language: np.flatnonzero(languages == language) for language in LANGUAGES}

    def batch(self, rng: np.random.Generator, seconds: float, long_share: float) -> Batch:
        """About `seconds` of audio, noise and level drawn anew: joined clips with chance `long_share`, else single."""
        return self._long(rng, seconds) if rng.random() < long_share else self._short(rng, seconds)

    def _short(self, rng: np.random.Generator, seconds: float) -> Batch:
        bucket = int(rng.choice(list(self._buckets), p=self._sizes / self._sizes.sum()))
        members = self._buckets[bucket]
        samples = bucket * _BUCKET
        size = int(seconds * SAMPLE_RATE / samples)
        size = min(max(size, 4), self._largest, len(members))
        chosen = rng.choice(members, size=size, replace=False)
        return self._compose(rng, samples, [[int(index)] for index in chosen])

    def _long(self, rng: np.random.Generator, seconds: float) -> Batch:
        samples = int(rng.uniform(*self._data.long_seconds) * SAMPLE_RATE) // _BUCKET * _BUCKET
        size = max(2, round(seconds * SAMPLE_RATE / samples))
        return self._compose(rng, samples, [self._fill(rng, samples) for _ in range(size)])

    def _fill(self, rng: np.random.Generator, samples: int) -> list[int]:
        """Clips of one language that fit into `samples` with a gap before each."""
        members = self._by_language[str(rng.choice([name for name, clips in self._by_language.items() if len(clips)]))]
        gap = int(self._data.gap_seconds * SAMPLE_RATE)
        row = [int(rng.choice(members))]
        used = int(self._clips.lengths[row[0]])
        while True:
            following = int(rng.choice(members))
            used += gap + int(self._clips.lengths[following])
            if used > samples:
                return row
            row.append(following)

    def _compose(self, rng: np.random.Generator, samples: int, rows: Sequence[Sequence[int]]) -> Batch:
        waves = np.stack([self._row(rng, samples, row) for row in rows])
        utterances = [[self._clips.utterances[index] for index in row] for row in rows]
        return Batch(
            waves,
            tuple(row[0].language for row in utterances),
            tuple(tuple(utterance.numbers for utterance in row) for row in utterances),
        )

    def _row(self, rng: np.random.Generator, samples: int, row: Sequence[int]) -> Wave:
        """The clips of `row` one after another with the left-over time spread over the gaps."""
        lengths = [int(self._clips.lengths[index]) for index in row]
        gap = int(self._data.gap_seconds * SAMPLE_RATE)
        spare = samples - sum(lengths) - gap * (len(row) - 1)
        cuts = np.sort(rng.integers(spare + 1, size=len(row)))
        wave, at, power = np.zeros(samples, np.float32), 0, 0.0
        for index, length, before in zip(row, lengths, np.diff(cuts, prepend=0), strict=True):
            at += int(before)
            clip = self._clips.wave(index)
            wave[at : at + length] = clip
            power = max(power, float(np.mean(clip**2)))
            at += length + gap
        if rng.random() < self._data.noise_share:
            wave = add_noise(wave, power, float(rng.uniform(*self._data.snr_db)), rng)
        level = rng.uniform(*self._data.level) / self._data.level[1]
        louder: Wave = np.clip(wave * np.float32(level), -1.0, 1.0)
        return louder


def augment(features: torch.Tensor, rng: np.random.Generator, augmentation: Augmentation, share: float) -> torch.Tensor:
    """`features` [B, T, 160] with mel bands and spans set to the floor in a `share` of the rows, and level noise."""
    rows, frames, _ = features.shape
    floor = features.amin(dim=(1, 2))
    stacked = features.clone().view(rows, frames, 2, 80)
    for row in np.flatnonzero(rng.random(rows) < share):
        for _ in range(augmentation.bands):
            width = int(rng.integers(augmentation.band_width + 1))
            start = int(rng.integers(80 - width + 1))
            stacked[row, :, :, start : start + width] = floor[row]
        for _ in range(augmentation.spans):
            start = int(rng.integers(max(1, frames - augmentation.span_frames)))
            stacked[row, start : start + int(rng.integers(augmentation.span_frames + 1))] = floor[row]
    noise: npt.NDArray[np.float32] = rng.standard_normal((rows, 1, 2, 80), dtype=np.float32)
    return (stacked + augmentation.level_noise * torch.from_numpy(noise).to(features.device)).view(features.shape)


def learning_rate(stage: Stage, step: int, steps: int) -> float:
    """The factor on a stage's rates at `step` of `steps`: linear warm-up, flat, then linear to 2 %."""
    progress = step / steps
    warmup = min(1.0, (step + 1) / min(stage.warmup_steps, max(1, steps // 4)))
    falling = 1.0 if progress < stage.flat_share else (1 - progress) / (1 - stage.flat_share)
    return warmup * max(0.02, falling)
