"""Draws the utterances of each split, keeps the splits apart, and holds their clips."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from env.atomic import replacing
from env.language import _
from model.audio import SAMPLE_RATE
from model.training.number_words import LANGUAGES
from model.training.recipe import Data, Recipe
from model.training.speech import Synthesiser, Utterance, Wave, espeak, render, require_espeak

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def split_of(numbers: Sequence[int], data: Data) -> Split:
    """The split that owns a number sequence, in every language: by hash, so that no two splits share one."""
    digest = hashlib.sha256("-".join(map(str, numbers)).encode()).digest()
    percent = int.from_bytes(digest[:4], "big") % 100
    if percent < data.test_percent:
        return "test"
    return "dev" if percent < data.test_percent + data.dev_percent else "train"


def _draw_numbers(rng: np.random.Generator, data: Data, single_share: float) -> tuple[tuple[int, ...], bool]:
    """A number sequence, and whether it is spoken with pauses."""
    form = rng.random()
    if form < single_share:
        top = 20 if rng.random() < data.single_digit_share else 100
        return (int(rng.integers(top)),), False
    if form < 1 - data.digits_share:
        count = int(rng.choice([2, 2, 3]))
        return tuple(int(number) for number in rng.integers(100, size=count)), True
    digits = [int(rng.integers(10))]
    for _digit in range(int(rng.integers(2, 5))):
        digits.append(digits[-1] if rng.random() < data.repeat_share else int(rng.integers(10)))
    return tuple(digits), False


def _draw_speed(rng: np.random.Generator, data: Data, split: Split) -> int:
    held_out = {speed for low, high in data.held_out_speeds for speed in range(low, high + 1)}
    everything = range(data.speed[0], data.speed[1] + 1)
    return int(rng.choice([speed for speed in everything if (speed in held_out) == (split != "train")]))


def draw(recipe: Recipe, split: Split, index: int) -> Utterance:
    """The utterance at `index` of `split`: a function of the recipe alone, whatever was drawn before."""
    data, voices = recipe.data, recipe.voices
    rng = np.random.default_rng([recipe.seed, SPLITS.index(split), index])
    language = LANGUAGES[index % len(LANGUAGES)]
    single_share = data.single_share if split == "train" else data.test_single_share
    numbers, pauses = _draw_numbers(rng, data, single_share)
    while split_of(numbers, data) != split:
        numbers, pauses = _draw_numbers(rng, data, single_share)
    variant = str(rng.choice({"train": voices.train, "dev": voices.dev, "test": voices.test}[split]))
    voice = str(rng.choice(voices.languages[language]))
    noisy = split != "train" and rng.random() < data.noise_share  # training adds noise batch by batch
    return Utterance(
        language=language,
        numbers=numbers,
        pauses=pauses,
        voice=f"{voice}+{variant}" if variant else voice,
        speed=_draw_speed(rng, data, split),
        pitch=int(rng.integers(data.pitch[0], data.pitch[1] + 1)),
        resample=float(rng.uniform(*data.resample)) if split == "train" else 1.0,
        level=float(rng.uniform(*(data.level if split == "train" else data.test_level))),
        lead=float(rng.uniform(*data.lead)),
        tail=float(rng.uniform(*data.tail)),
        snr_db=float(rng.uniform(*data.snr_db)) if noisy else None,
        noise_seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Clips:
    """Many clips of one split in one array: clip i is `samples[offsets[i]:offsets[i + 1]]`, 16 bit at 16 kHz.

    `made_by` names the synthesiser and its version, where that is known.
    """

    utterances: tuple[Utterance, ...]
    samples: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int64]
    made_by: str = ""

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Samples of each clip, shape [clips]."""
        return np.diff(self.offsets)

    @property
    def hours(self) -> float:
        return len(self.samples) / SAMPLE_RATE / 3600

    def wave(self, index: int) -> Wave:
        """Clip `index` as float32 in -1 to 1, shape [samples]."""
        return self.samples[self.offsets[index] : self.offsets[index + 1]].astype(np.float32) / 32768

    def head(self, count: int) -> Clips:
        """The first `count` clips."""
        end = int(self.offsets[count])
        return Clips(self.utterances[:count], self.samples[:end], self.offsets[: count + 1], self.made_by)

    @classmethod
    def join(cls, utterances: Sequence[Utterance], waves: Sequence[npt.NDArray[np.int16]], made_by: str = "") -> Clips:
        """Clips of separate waveforms."""
        offsets = np.concatenate([[0], np.cumsum([len(wave) for wave in waves])]).astype(np.int64)
        return cls(tuple(utterances), np.concatenate(waves), offsets, made_by)

    def save(self, path: Path) -> None:
        """Write to `path` (.npz), whole or not at all."""
        described = json.dumps([asdict(utterance) for utterance in self.utterances])
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                samples=self.samples,
                offsets=self.offsets,
                utterances=np.array(described),
                made_by=np.array(self.made_by),
            )

    @classmethod
    def load(cls, path: Path) -> Clips:
        with np.load(path) as stored:
            described = json.loads(str(stored["utterances"]))
            utterances = tuple(Utterance(**{**row, "numbers": tuple(row["numbers"])}) for row in described)
            return cls(utterances, stored["samples"], stored["offsets"], str(stored["made_by"]))


def synthesise(
    recipe: Recipe,
    split: Split,
    count: int,
    *,
    jobs: int = 1,
    speak: Synthesiser = espeak,
    made_by: str = "",
    progress: Callable[[str], None] = print,
) -> Clips:
    """Make the first `count` clips of `split`. The clips do not depend on `jobs`."""
    utterances = [draw(recipe, split, index) for index in range(count)]
    started, waves = time.monotonic(), []
    with ThreadPoolExecutor(jobs) as pool:  # espeak-ng is a process of its own: threads are enough
        for wave in pool.map(lambda utterance: render(utterance, speak), utterances):
            waves.append(wave)
            if len(waves) % 1000 == 0:
                progress(
                    _(
                        "{split}: {done} of {count} clips, {rate:.0f}/s",
                        split=split,
                        done=len(waves),
                        count=count,
                        rate=len(waves) / (time.monotonic() - started),
                    )
                )
    return Clips.join(utterances, waves, made_by)


def data_digest(recipe: Recipe) -> str:
    """What the clips depend on, as a short hash: clips made by another recipe are not reused."""
    described = json.dumps([recipe.seed, asdict(recipe.data), asdict(recipe.voices)], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def prepare(
    recipe: Recipe, split: Split, folder: Path, *, jobs: int = 1, progress: Callable[[str], None] = print
) -> Clips:
    """The clips of `split`, made by espeak-ng where `folder` does not hold them yet. Raises HostError without it."""
    data = recipe.data
    count = {"train": data.train_clips, "dev": data.dev_clips, "test": data.test_clips}[split]
    path = folder / f"{split}-{data_digest(recipe)}.npz"
    if not path.exists():
        made_by = require_espeak()
        progress(_("making {count} {split} clips with {made_by}", count=count, split=split, made_by=made_by))
        folder.mkdir(parents=True, exist_ok=True)
        synthesise(recipe, split, count, jobs=jobs, made_by=made_by, progress=progress).save(path)
    clips = Clips.load(path)
    progress(_("{split}: {count} clips, {hours:.2f} h", split=split, count=len(clips), hours=clips.hours))
    return clips
