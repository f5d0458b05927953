from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from model.audio import SAMPLE_RATE
from model.training.batches import Sampler, augment, learning_rate
from model.training.dataset import Clips
from model.training.recipe import load_recipe
from tests.model.training.tones import tone_clips

RECIPE = load_recipe()
SILENT = dataclasses.replace(RECIPE.data, noise_share=0.0)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return tone_clips(RECIPE, "train", 240)


@pytest.fixture
def sampler(clips: Clips) -> Sampler:
    return Sampler(clips, SILENT, RECIPE.training.largest_batch)


def _samples(clips: Clips) -> dict[tuple[int, ...], set[int]]:
    """Lengths of the clips that speak a sequence: several languages and draws may."""
    found: dict[tuple[int, ...], set[int]] = {}
    for row, length in zip(clips.utterances, clips.lengths, strict=True):
        found.setdefault(row.numbers, set()).add(int(length))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_short_batch_holds_one_clip_a_row_within_a_tenth_of_a_second(sampler: Sampler, clips: Clips, seed: int) -> None:
    batch = sampler.batch(np.random.default_rng(seed), 40.0, 0.0)
    lengths = _samples(clips)
    assert batch.waves.shape[0] == len(batch.languages) <= RECIPE.training.largest_batch
    for spoken in batch.spoken:
        assert len(spoken) == 1
        assert any(0 <= batch.waves.shape[1] - length < SAMPLE_RATE // 10 for length in lengths[spoken[0]])


@pytest.mark.parametrize("seed", range(8))
def test_joined_batch_fits_its_clips_with_gaps_between(sampler: Sampler, clips: Clips, seed: int) -> None:
    batch = sampler.batch(np.random.default_rng(seed), 40.0, 1.0)
    lengths, samples = _samples(clips), batch.waves.shape[1]
    low, high = SILENT.long_seconds
    assert low - 0.1 <= samples / SAMPLE_RATE <= high
    assert batch.waves.shape[0] >= 2
    for wave, spoken in zip(batch.waves, batch.spoken, strict=True):
        gaps = SILENT.gap_seconds * SAMPLE_RATE * (len(spoken) - 1)
        assert sum(min(lengths[numbers]) for numbers in spoken) + gaps <= samples
        # As many stretches of silence of a gap's length inside the row as there are joints.
        edges = np.flatnonzero(np.diff(np.concatenate([[1], wave == 0, [1]]).astype(int)))
        quiet = [end - start for start, end in zip(edges[::2], edges[1::2], strict=False)]
        assert len(quiet) >= len(spoken) - 1


def test_joined_row_is_in_one_language(sampler: Sampler, clips: Clips) -> None:
    languages = {(row.language, row.numbers) for row in clips.utterances}
    for seed in range(8):
        batch = sampler.batch(np.random.default_rng(seed), 40.0, 1.0)
        for language, spoken in zip(batch.languages, batch.spoken, strict=True):
            assert all((language, numbers) in languages for numbers in spoken)


def test_batch_depends_on_its_generator_alone(clips: Clips) -> None:
    noisy = Sampler(clips, RECIPE.data, RECIPE.training.largest_batch)
    first = noisy.batch(np.random.default_rng(5), 40.0, 0.5)
    noisy.batch(np.random.default_rng(6), 40.0, 0.5)
    again = Sampler(clips, RECIPE.data, RECIPE.training.largest_batch).batch(np.random.default_rng(5), 40.0, 0.5)
    assert np.array_equal(first.waves, again.waves)
    assert first.spoken == again.spoken


def test_labels_spell_what_is_spoken_as_code_points(sampler: Sampler) -> None:
    batch = sampler.batch(np.random.default_rng(1), 40.0, 1.0)
    labels = batch.ctc_labels()
    assert len(labels) == len(batch.languages)
    assert all(0 < label < 348 for row in labels for label in row)
    row = batch.languages.index("en") if "en" in batch.languages else 0
    assert "".join(map(chr, labels[row])).count(" ") >= len(batch.spoken[row]) - 1


def test_every_row_is_transcribed_and_english_alone_leaves_english(sampler: Sampler) -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        batch = sampler.batch(rng, 40.0, 0.0)
        raw, second = batch.draw_tasks(rng, RECIPE.tasks.punctuated_share)
        assert [task.name for task in raw] == ["raw"] * len(batch.languages)
        for language, task in zip(batch.languages, second, strict=True):
            seen.add((task.name, language == "en", task.language == "en"))
    assert ("translation", False, True) in seen
    assert ("translation", True, False) in seen
    assert not {("translation", True, True), ("translation", False, False)} & seen


def test_augmentation_masks_bands_of_both_stacked_frames_and_keeps_the_rest() -> None:
    quiet = dataclasses.replace(RECIPE.augmentation, level_noise=0.0, spans=0, bands=1)
    features = torch.rand(64, 30, 160)
    features[:, 0, 0] = -1.0  # the floor
    masked = augment(features, np.random.default_rng(0), quiet, share=1.0).view(64, 30, 2, 80)
    changed = masked != features.view(64, 30, 2, 80)
    assert changed.any()
    assert bool((masked[changed] == -1.0).all())
    assert torch.equal(changed[:, 1:, 0].any(1), changed[:, 1:, 1].any(1))
    untouched = augment(features, np.random.default_rng(0), quiet, share=0.0)
    assert torch.equal(untouched, features)


def test_learning_rate_warms_up_stays_flat_and_falls() -> None:
    stage = dataclasses.replace(RECIPE.stages[0], warmup_steps=10, flat_share=0.5)
    rates = [learning_rate(stage, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:50] == [1.0] * 41
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)
