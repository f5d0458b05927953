from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from env.errors import CheckpointError
from model.training.dataset import Clips
from model.training.recipe import Recipe
from model.training.tasks import Task, prompt, prompt_parts
from model.training.train import Position, Trainer, ctc_loss
from tests.model.training.small import small_recipe
from tests.model.training.tones import tone_clips


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return small_recipe()


@pytest.fixture(scope="module")
def clips(recipe: Recipe) -> Clips:
    return tone_clips(recipe, "train", 60)


def _trainer(recipe: Recipe, clips: Clips, work: Path) -> Trainer:
    work.mkdir(exist_ok=True)
    return Trainer(recipe, clips, work, progress=lambda line: None)


def _weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}


def _moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Which of encoder, projector and language_model changed."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_each_stage_trains_its_own_parts(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    trainer = _trainer(recipe, clips, tmp_path)
    moved = []
    while not trainer.finished:
        before = _weights(trainer)
        losses = trainer.step()
        assert all(np.isfinite(loss) for loss in losses.values())
        moved.append((_moved(before, _weights(trainer)), set(losses)))
    assert moved[0] == ({"encoder"}, {"ctc"})
    assert moved[2] == ({"projector", "language_model"}, {"text"})
    assert moved[4] == ({"encoder", "projector", "language_model"}, {"ctc", "text"})


def test_training_stopped_and_resumed_ends_in_the_same_weights(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    whole = _trainer(recipe, clips, tmp_path / "whole")
    whole.run()
    stopped = _trainer(recipe, clips, tmp_path / "parts")
    for _ in range(3):
        stopped.step()
    stopped.save()
    resumed = _trainer(recipe, clips, tmp_path / "parts")
    assert resumed.resume()
    assert resumed.position == Position(1, 1)
    resumed.run()
    assert not _moved(_weights(whole), _weights(resumed))


def test_losses_of_every_step_are_written_down(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    trainer = _trainer(recipe, clips, tmp_path)
    trainer.run()
    rows = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage, step) for stage in ("ctc", "text", "joint") for step in (1, 2)
    ]


def test_nothing_to_resume_is_no_error(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    assert not _trainer(recipe, clips, tmp_path).resume()


def test_state_of_another_model_is_refused(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    _trainer(recipe, clips, tmp_path).save()
    wider = dataclasses.replace(recipe, text={**recipe.text, "intermediate_size": 24})
    with pytest.raises(CheckpointError, match="another model than"):
        _trainer(wider, clips, tmp_path).resume()


def test_state_beyond_the_recipe_is_refused(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    trainer = _trainer(recipe, clips, tmp_path)
    trainer.step()
    trainer.save()
    shorter = dataclasses.replace(recipe, stages=tuple(dataclasses.replace(row, steps=1) for row in recipe.stages))
    with pytest.raises(CheckpointError, match="stands at step 1"):
        _trainer(shorter, clips, tmp_path).resume()


def test_state_of_another_recipe_or_other_clips_is_refused(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    _trainer(recipe, clips, tmp_path).save()
    slower = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, weight_decay=0.5))
    louder = dataclasses.replace(clips, samples=clips.samples * 2)
    for other in (_trainer(slower, clips, tmp_path), _trainer(recipe, louder, tmp_path)):
        with pytest.raises(CheckpointError, match="by another recipe, or on other clips"):
            other.resume()


def test_forgetting_starts_from_nothing(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    trainer = _trainer(recipe, clips, tmp_path)
    trainer.save()
    trainer.forget()
    assert not trainer.resume()
    assert list(tmp_path.iterdir()) == []


def test_ctc_loss_is_the_negative_log_probability_of_all_alignments() -> None:
    """Three frames, label "a": aaa, aa-, -aa, a--, -a-, --a. Summed by hand."""
    probability = torch.tensor([[0.5, 0.3], [0.4, 0.4], [0.6, 0.2]])
    logits = torch.full((1, 3, 348), -1e9)
    blank, a = 0, ord("a")
    logits[0, :, blank], logits[0, :, a] = probability[:, 0].log(), probability[:, 1].log()
    normal = probability / probability.sum(1, keepdim=True)
    (b1, a1), (b2, a2), (b3, a3) = normal.tolist()
    total = a1 * a2 * a3 + a1 * a2 * b3 + b1 * a2 * a3 + a1 * b2 * b3 + b1 * a2 * b3 + b1 * b2 * a3
    assert ctc_loss(logits, [[a]]).item() == pytest.approx(-np.log(total), rel=1e-5)


def test_answers_are_learned_after_the_prompt_of_the_real_model(recipe: Recipe, clips: Clips, tmp_path: Path) -> None:
    """The training sequence equals what the processor builds from the chat template, then the answer."""
    tokenizer = _trainer(recipe, clips, tmp_path).processor.tokenizer
    instruction = Task("raw", "en").instruction
    chat = [{"role": "user", "content": "<|audio|>" + instruction}]
    rendered = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert rendered == prompt(instruction)
    before, after = (tokenizer(part)["input_ids"] for part in prompt_parts(instruction))
    assert tokenizer(rendered)["input_ids"] == [*before, tokenizer.convert_tokens_to_ids("<|audio|>"), *after]
