"""The family's other checkpoints: what the library must have for them, and what is refused whatever it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from env.errors import CheckpointError
from env.stack import ROOT, load_stack
from model import stand_in, variants
from model.architecture import parse

DATA = ROOT / "model" / "data"


def plus(**encoder: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((DATA / "tiny-plus.json").read_text(encoding="utf-8"))
    config["encoder_config"] |= encoder
    return config


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "library_version", lambda: load_stack().named("t5").packages["transformers"])


@pytest.mark.parametrize(
    ("installed", "known"),
    [
        ("5.8.0", True),
        ("5.9.0", True),
        ("5.24.0", True),
        ("6.0.0", True),
        ("5.7.0", False),
        ("4.57.6", False),
        ("", False),
    ],
)
def test_plus_is_in_the_library_since_its_release(monkeypatch: pytest.MonkeyPatch, installed: str, known: bool) -> None:
    monkeypatch.setattr(variants, "library_version", lambda: installed)
    assert (variants.refused(variants.PLUS) is None) == known


def test_what_plus_needs_is_told_with_the_command_that_brings_it() -> None:
    refusal = str(variants.refused(variants.PLUS))
    assert "needs transformers 5.8.0 or later, 4.57.6 is installed" in refusal
    assert refusal.endswith(f"--stack {variants.PLUS_STACK}")
    assert variants.PLUS_STACK in load_stack().others


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("model_type", ["granite_speech_nar", "granite_speech5"])
def test_what_no_stack_runs_is_refused_with_the_reason(model_type: str) -> None:
    architecture, problems = parse({"model_type": model_type})
    assert architecture is None
    assert problems == [variants.REFUSED[model_type]]


@pytest.mark.usefixtures("newer")
def test_plus_gives_the_projector_the_chosen_layers_beside_the_last() -> None:
    architecture, problems = parse(plus())
    assert problems == []
    assert architecture is not None
    assert architecture.output_shapes(1, 30, 40)["encoder"] == (1, 30, 256)
    assert architecture.output_shapes(1, 30, 40)["ctc_head"] == (1, 30, 96)
    tensors = architecture.tensors()
    assert tensors["projector.qformer.encoder.layer.0.crossattention.attention.key.weight"] == (128, 256)
    assert "language_model.lm_head.weight" not in tensors  # tied, as the published one is


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize(
    ("encoder", "problem"),
    [
        ({"cat_hidden_layers": [4]}, "cat_hidden_layers is [4], numbers from 0 to 3 expected"),
        ({"cat_hidden_layers": "1"}, "cat_hidden_layers is '1', numbers from 0 to 3 expected"),
        ({"cat_hidden_layers": [1, 2]}, "encoder_hidden_size 256 is not the encoder's output, 384"),
    ],
)
def test_layers_that_are_not_there_are_named(encoder: dict[str, Any], problem: str) -> None:
    architecture, problems = parse(plus(**encoder))
    assert architecture is None
    assert any(problem in text for text in problems)


def test_a_stand_in_that_the_library_does_not_know_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"needs transformers 5\.8\.0"):
        stand_in.folder_of("synthetic:tiny-plus", 1, parent=tmp_path)
    assert list(tmp_path.iterdir()) == []
