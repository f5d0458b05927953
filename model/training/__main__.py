"""`python -m model.training`: makes the stand-in checkpoint from nothing: clips, training, export, held-out score."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.atomic import write_json, write_text
from env.errors import CheckpointError, DeviceError, run_main
from model import gate
from model.training import recipe as recipes

if TYPE_CHECKING:
    from model.training.recipe import Recipe
    from model.training.train import Trainer

ROOT = Path(__file__).resolve().parents[2]
BUNDLED_CHECKPOINT = ROOT / "model" / "data" / "stand-in"
BUNDLED_CLIPS = ROOT / "model" / "data" / "clips"
SCORED_TASKS = ("ctc", "raw", "punctuated", "translation")

say = partial(print, flush=True)


def parser() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(
        prog="python -m model.training",
        description="Make the stand-in checkpoint from nothing: synthetic clips (needs espeak-ng), training, export, "
        "and its held-out score. Stopped at any point, the same command goes on from the last saved step.",
    )
    commands.add_argument("--work", type=Path, default=ROOT / ".cache" / "stand-in", help="clips and training state")
    commands.add_argument("--output", type=Path, help="checkpoint folder (default: WORK/checkpoint)")
    commands.add_argument("--clips", type=Path, help="folder for the held-out clips (default: WORK/clips)")
    commands.add_argument("--bundle", action="store_true", help="write over the bundled checkpoint and clips instead")
    commands.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default: cpu)")
    commands.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="CPU threads; another number rounds apart"
    )
    commands.add_argument("--steps-scale", type=float, default=1.0, help="scale every stage's steps, for a quick try")
    commands.add_argument("--restart", action="store_true", help="forget a saved training state")
    commands.add_argument("--score-only", action="store_true", help="score the checkpoint in --output and stop")
    return commands


def _check_device(name: str) -> None:
    import torch

    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"--device {name}: no CUDA device answers", next="nvidia-smi; or leave --device out")
    torch.device(name)


def _evaluate(trainer: Trainer, clips: Any) -> str:
    """One line on development clips: how training is going."""
    from model.training.score import Reader, ask_clips, summary

    stage = trainer.stage
    trainer.model.eval()
    answers = ask_clips(Reader(trainer.model, trainer.processor), clips, ["raw" if stage.text_rate else "ctc"])
    scores = summary(answers, bleu=False)
    wrong = next((answer for answer in answers if answer.reference != answer.hypothesis), answers[0])
    return (
        f"  dev: WER {scores['wer']:.1f} %, exact {scores['exact']} % of {scores['n']}; "
        f"{wrong.reference!r} read as {wrong.hypothesis!r}"
    )


def _train(recipe: Recipe, arguments: argparse.Namespace, checkpoint: Path) -> None:
    from model.training.dataset import prepare
    from model.training.export import write_checkpoint
    from model.training.train import Trainer

    work: Path = arguments.work
    make = partial(prepare, recipe, folder=work, jobs=arguments.threads, progress=say)
    dev = make(split="dev").head(recipe.training.evaluation_clips)
    clips = make(split="train")
    trainer = Trainer(
        recipe,
        clips,
        work,
        device=arguments.device,
        steps_scale=arguments.steps_scale,
        progress=say,
    )
    if arguments.restart:
        trainer.forget()
    elif trainer.resume():
        say(f"going on from the saved state, {trainer.where}")
    trainer.run(partial(_evaluate, clips=dev))
    facts = {**trainer.facts(), "clips": len(clips), "hours": round(clips.hours, 2), "speech": clips.made_by}
    write_checkpoint(trainer.model, recipe, checkpoint, facts)
    say(f"checkpoint written to {checkpoint}")


def _score(recipe: Recipe, checkpoint: Path, clips_folder: Path) -> dict[str, Any]:
    import torch

    from model.training.export import read_clips
    from model.training.score import Reader, ask_clips, ask_joined, signature, table

    if not (checkpoint / "config.json").exists():
        raise CheckpointError(f"no checkpoint in {checkpoint}", next="python -m model.training")
    model, _info = gate.load_model(checkpoint, dtype=torch.float32)
    reader, clips = Reader(model.eval(), gate.load_processor(checkpoint)), read_clips(clips_folder)
    answers = ask_clips(reader, clips, SCORED_TASKS, say)
    tasks = table(answers)
    for task, scores in table(ask_joined(reader, clips, recipe)).items():
        tasks[f"{task}-long"] = scores
    return {"schema": 1, "signature": signature(checkpoint, clips), "tasks": tasks}


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    recipe = recipes.load()
    checkpoint = BUNDLED_CHECKPOINT if arguments.bundle else arguments.output or arguments.work / "checkpoint"
    clips_folder = BUNDLED_CLIPS if arguments.bundle else arguments.clips or arguments.work / "clips"

    import torch

    from model.components import quiet
    from model.training.card import score_table, with_scores
    from model.training.dataset import prepare
    from model.training.export import CARD, HELD_OUT, SCORES, write_clips

    quiet()
    torch.set_num_threads(arguments.threads)
    _check_device(arguments.device)
    if not arguments.score_only:
        _train(recipe, arguments, checkpoint)
        write_clips(prepare(recipe, "test", arguments.work, jobs=arguments.threads, progress=say), clips_folder)
    elif not (clips_folder / HELD_OUT).exists():
        raise CheckpointError(f"no held-out clips in {clips_folder}", next="python -m model.training")
    scores = _score(recipe, checkpoint, clips_folder)
    write_json(checkpoint / SCORES, scores)
    card = checkpoint / CARD
    if card.exists():
        write_text(card, with_scores(card.read_text(encoding="utf-8"), scores))
    say(score_table(scores))
    return 0


if __name__ == "__main__":
    run_main(main)
