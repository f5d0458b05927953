from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from model.training.export import HELD_OUT, MANIFEST, QUICK_CLIPS, read_clips, write_clips
from model.training.recipe import load_recipe
from tests.model.training.tones import tone_clips

RECIPE = load_recipe()


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_clips_come_back_sample_for_sample(tmp_path: Path) -> None:
    clips = tone_clips(RECIPE, "test", 12)
    write_clips(clips, tmp_path)
    again = read_clips(tmp_path)
    assert again.utterances == clips.utterances
    assert np.array_equal(again.samples, clips.samples)
    assert soundfile.info(tmp_path / "ja-001.flac").samplerate == 16000


def test_manifest_has_the_fields_that_evaluation_programs_read(tmp_path: Path) -> None:
    write_clips(tone_clips(RECIPE, "test", 6), tmp_path)
    rows = _rows(tmp_path / MANIFEST)
    assert [(row["lang"], row["taskname"]) for row in rows] == [
        ("en", "asr"),
        *[(language, task) for language in ("fr", "de", "es", "pt", "ja") for task in ("asr", "ast")],
    ]
    for row in rows:
        assert row["duration"] == round(soundfile.info(tmp_path / str(row["audio_filepath"])).duration, 4)
        assert row["text"]
        assert ("target_lang" in row) == (row["taskname"] == "ast")


def test_quick_manifest_is_the_beginning_of_the_held_out_one(tmp_path: Path) -> None:
    write_clips(tone_clips(RECIPE, "test", QUICK_CLIPS + 6), tmp_path)
    quick, everything = _rows(tmp_path / MANIFEST), _rows(tmp_path / HELD_OUT)
    assert quick == everything[: len(quick)]
    assert len({row["audio_filepath"] for row in quick}) == QUICK_CLIPS
    assert len({row["audio_filepath"] for row in everything}) == QUICK_CLIPS + 6
