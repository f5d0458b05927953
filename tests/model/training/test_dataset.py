from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.training.dataset import SPLITS, Clips, Split, data_digest, draw, prepare, split_of, synthesise
from model.training.recipe import load_recipe
from model.training.speech import Utterance
from tests.model.training.tones import tone, tone_clips

RECIPE = load_recipe()
OTHERS: list[tuple[Split, Split]] = [("train", "dev"), ("train", "test"), ("dev", "test")]


@pytest.fixture(scope="module")
def drawn() -> dict[Split, list[Utterance]]:
    return {split: [draw(RECIPE, split, index) for index in range(3000)] for split in SPLITS}


def _variant(utterance: Utterance) -> str:
    return utterance.voice.partition("+")[2]


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_splits_share_no_number_sequence(drawn: dict[Split, list[Utterance]], one: Split, other: Split) -> None:
    """Not even across languages: a sequence belongs to one split whoever speaks it."""
    assert not {row.numbers for row in drawn[one]} & {row.numbers for row in drawn[other]}


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_splits_share_no_speaker(drawn: dict[Split, list[Utterance]], one: Split, other: Split) -> None:
    assert not {_variant(row) for row in drawn[one]} & {_variant(row) for row in drawn[other]}


@pytest.mark.parametrize("held_out", ["dev", "test"])
def test_training_never_speaks_at_a_held_out_speed(drawn: dict[Split, list[Utterance]], held_out: Split) -> None:
    assert not {row.speed for row in drawn["train"]} & {row.speed for row in drawn[held_out]}


@pytest.mark.parametrize("split", SPLITS)
def test_languages_have_equal_shares(drawn: dict[Split, list[Utterance]], split: Split) -> None:
    counts = {row.language: 0 for row in drawn[split]}
    for row in drawn[split]:
        counts[row.language] += 1
    assert set(counts.values()) == {500}


def test_every_drawn_sequence_is_in_its_own_split(drawn: dict[Split, list[Utterance]]) -> None:
    assert all(split_of(row.numbers, RECIPE.data) == split for split, rows in drawn.items() for row in rows)


@pytest.mark.parametrize(("numbers", "split"), [((9,), "train"), ((4,), "test"), ((11,), "dev"), ((4, 5), "test")])
def test_sequence_keeps_its_split_for_ever(numbers: tuple[int, ...], split: Split) -> None:
    """The bundled clips are held out only as long as this does not change."""
    assert split_of(numbers, RECIPE.data) == split


def test_draw_depends_on_nothing_but_its_index() -> None:
    assert draw(RECIPE, "train", 17) == draw(RECIPE, "train", 17)
    assert draw(RECIPE, "train", 17) != draw(RECIPE, "train", 23)


def test_clips_are_the_same_whatever_the_number_of_jobs() -> None:
    one = synthesise(RECIPE, "test", 12, jobs=1, speak=tone)
    four = synthesise(RECIPE, "test", 12, jobs=4, speak=tone)
    assert np.array_equal(one.samples, four.samples)
    assert one.utterances == four.utterances


def test_clips_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    clips = tone_clips(RECIPE, "dev", 8)
    clips.save(tmp_path / "clips.npz")
    again = Clips.load(tmp_path / "clips.npz")
    assert (again.utterances, again.made_by) == (clips.utterances, "tones")
    assert np.array_equal(again.samples, clips.samples)
    assert np.array_equal(again.wave(3), clips.wave(3))
    assert list(tmp_path.iterdir()) == [tmp_path / "clips.npz"]


def test_head_holds_the_first_clips() -> None:
    clips = tone_clips(RECIPE, "dev", 8)
    head = clips.head(3)
    assert len(head) == 3
    assert np.array_equal(head.wave(2), clips.wave(2))


def test_clips_on_disk_are_not_made_again(tmp_path: Path) -> None:
    clips = tone_clips(RECIPE, "test", 5)
    clips.save(tmp_path / f"test-{data_digest(RECIPE)}.npz")
    said: list[str] = []
    assert prepare(RECIPE, "test", tmp_path, progress=said.append).utterances == clips.utterances
    assert said == [f"test: 5 clips, {clips.hours:.2f} h"]
