"""`python -m model.training` from end to end, on tones and a very small model."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from env.errors import CheckpointError, DeviceError
from model import checksums
from model.training import __main__ as program
from model.training.dataset import SPLITS, data_digest
from model.training.export import HELD_OUT
from tests.model.training.small import small_recipe
from tests.model.training.tones import tone_clips

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder that holds clips of tones, so that espeak-ng is not needed."""
    recipe = small_recipe()
    monkeypatch.setattr(program, "load_recipe", lambda: recipe)
    for split, count in zip(SPLITS, (60, 6, 6), strict=True):
        tone_clips(recipe, split, count).save(tmp_path / f"{split}-{data_digest(recipe)}.npz")
    return tmp_path


def _run(work: Path, *options: str) -> int:
    threads = torch.get_num_threads()
    try:
        return program.main(["--work", str(work), "--threads", "1", *options])
    finally:
        torch.set_num_threads(threads)


def test_program_makes_a_checkpoint_clips_and_scores(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(work) == 0
    checkpoint = work / "checkpoint"
    mark = json.loads((checkpoint / "STAND_IN.json").read_text(encoding="utf-8"))
    assert (mark["steps"], mark["clips"], mark["speech"]) == ({"ctc": 2, "text": 2, "joint": 2}, 60, "tones")
    listed, problems = checksums.parse((checkpoint / checksums.SHA256SUMS).read_text(encoding="utf-8"))
    assert {path.name for path in checkpoint.iterdir()} - set(listed) == {checksums.SHA256SUMS, "scores.json"}
    assert problems == []
    assert (work / "clips" / HELD_OUT).exists()
    scores = json.loads((checkpoint / "scores.json").read_text(encoding="utf-8"))
    assert {"ctc", "raw", "punctuated", "to-english", "from-english", "raw-long", "ctc-long"} == set(scores["tasks"])
    assert scores["tasks"]["raw"]["all"]["n"] == 6
    assert "| transcription, WER % / 转写，WER % | 6 |" in capsys.readouterr().out


@pytest.mark.slow
def test_finished_training_is_not_made_again(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(work)
    before = (work / "checkpoint" / "model.safetensors").read_bytes()
    capsys.readouterr()
    _run(work)
    assert "going on from the saved state, finished" in capsys.readouterr().out
    assert (work / "checkpoint" / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_scores_go_into_a_model_card_that_is_there(work: Path) -> None:
    _run(work)
    card = work / "checkpoint" / "README.md"
    card.write_text("# Card\n<!-- scores: written by model/training/card.py --><!-- end of scores -->\n")
    assert _run(work, "--score-only") == 0
    assert "| transcription, WER % / 转写，WER % | 6 |" in card.read_text(encoding="utf-8")


def test_scoring_without_a_checkpoint_says_how_to_make_one(work: Path) -> None:
    with pytest.raises(CheckpointError, match="no held-out clips") as caught:
        _run(work, "--score-only")
    assert caught.value.next == "python -m model.training"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_missing_device_is_an_error(work: Path) -> None:
    with pytest.raises(DeviceError, match="no CUDA device answers"):
        _run(work, "--device", "cuda")


def test_quick_try_scales_the_steps_of_every_stage(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = small_recipe()
    longer = dataclasses.replace(longer, stages=tuple(dataclasses.replace(row, steps=4) for row in longer.stages))
    monkeypatch.setattr(program, "load_recipe", lambda: longer)
    _run(work, "--steps-scale", "0.25")
    mark = json.loads((work / "checkpoint" / "STAND_IN.json").read_text(encoding="utf-8"))
    assert mark["steps"] == {"ctc": 1, "text": 1, "joint": 1}


def test_help_imports_nothing_heavy() -> None:
    started = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "model.training", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "espeak-ng" in done.stdout
    assert "torch" not in done.stderr
    assert time.monotonic() - started < 5
