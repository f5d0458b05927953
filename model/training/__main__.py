"""`python -m model.training`: makes the stand-in checkpoint from nothing: clips, training, export, held-out score."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.arguments import Parser
from env.atomic import write_json, write_text
from env.errors import CheckpointError, DeviceError, run_main
from env.language import Message, _, translate
from env.stack import ROOT
from model.training.recipe import load_recipe

if TYPE_CHECKING:
    from model.training.recipe import Recipe
    from model.training.train import Trainer

BUNDLED_CHECKPOINT = ROOT / "model" / "data" / "stand-in"
BUNDLED_CLIPS = ROOT / "model" / "data" / "clips"
SCORED_TASKS = ("ctc", "raw", "punctuated", "translation")


def show(line: str) -> None:
    """Print a line of progress in the user's language."""
    print(translate(line), flush=True)


def parser() -> argparse.ArgumentParser:
    commands = Parser(
        prog="python -m model.training",
        description=_(
            "Make the stand-in checkpoint from nothing: synthetic clips (needs espeak-ng), training, export,\n"
            "and its held-out score. Stopped at any point, the same command goes on from the last saved step."
        ),
    )
    commands.add_argument("--work", type=Path, default=ROOT / ".cache" / "stand-in", help=_("clips and training state"))
    commands.add_argument("--output", type=Path, help=_("checkpoint folder (default: WORK/checkpoint)"))
    commands.add_argument("--clips", type=Path, help=_("folder for the held-out clips (default: WORK/clips)"))
    commands.add_argument(
        "--bundle", action="store_true", help=_("write over the bundled checkpoint and clips instead")
    )
    commands.add_argument("--device", default="cpu", help=_("cpu or cuda[:N] (default: cpu)"))
    commands.add_argument(
        "--threads", type=int, default=os.cpu_count(), help=_("CPU threads; another number rounds apart")
    )
    commands.add_argument(
        "--steps-scale", type=float, default=1.0, help=_("scale every stage's steps, for a quick try")
    )
    commands.add_argument("--restart", action="store_true", help=_("forget a saved training state"))
    commands.add_argument("--score-only", action="store_true", help=_("score the checkpoint in --output and stop"))
    return commands


def _check_device(name: str) -> None:
    import torch

    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            _("--device {name}: no CUDA device answers", name=name), next=_("nvidia-smi; or leave --device out")
        )
    torch.device(name)


def _evaluate(trainer: Trainer, clips: Any) -> Message:
    """One line on development clips: how training is going."""
    from model.training.score import Reader, ask_clips, summary

    stage = trainer.stage
    trainer.model.eval()
    answers = ask_clips(Reader(trainer.model, trainer.processor), clips, ["raw" if stage.text_rate else "ctc"])
    scores = summary(answers, bleu=False)
    wrong = next((answer for answer in answers if answer.reference != answer.hypothesis), answers[0])
    return _(
        "  dev: WER {wer:.1f} %, exact {exact} % of {n}; {reference} read as {hypothesis}",
        wer=scores["wer"],
        exact=scores["exact"],
        n=scores["n"],
        reference=repr(wrong.reference),
        hypothesis=repr(wrong.hypothesis),
    )


def _train(recipe: Recipe, arguments: argparse.Namespace, checkpoint: Path) -> None:
    from model.training.dataset import prepare
    from model.training.export import write_checkpoint
    from model.training.train import Trainer

    work: Path = arguments.work
    make = partial(prepare, recipe, folder=work, jobs=arguments.threads, progress=show)
    dev = make(split="dev").head(recipe.training.evaluation_clips)
    clips = make(split="train")
    trainer = Trainer(
        recipe,
        clips,
        work,
        device=arguments.device,
        steps_scale=arguments.steps_scale,
        progress=show,
    )
    if arguments.restart:
        trainer.forget()
    elif trainer.resume():
        show(_("going on from the saved state, {where}", where=trainer.where))
    trainer.run(partial(_evaluate, clips=dev))
    facts = {**trainer.facts(), "clips": len(clips), "hours": round(clips.hours, 2), "speech": clips.made_by}
    write_checkpoint(trainer.model, recipe, checkpoint, facts)
    show(_("checkpoint written to {folder}", folder=checkpoint))


def _score(recipe: Recipe, checkpoint: Path, clips_folder: Path, threads: int) -> dict[str, Any]:
    import torch

    from model.session import Session
    from model.training.export import read_clips
    from model.training.score import Reader, ask_clips, ask_joined, signature, table

    if not (checkpoint / "config.json").exists():
        raise CheckpointError(_("no checkpoint in {folder}", folder=checkpoint), next="python -m model.training")
    session = Session("cpu", str(checkpoint), dtype="float32", seed=recipe.seed)
    reader, clips = Reader(session.loaded.model, session.processor), read_clips(clips_folder)
    torch.set_num_threads(threads)  # loading chose by the size of the model
    answers = ask_clips(reader, clips, SCORED_TASKS, show)
    tasks = table(answers)
    for task, scores in table(ask_joined(reader, clips, recipe)).items():
        tasks[f"{task}-long"] = scores
    return {"schema": 1, "signature": signature(session.checkpoint, clips).as_json(), "tasks": tasks}


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    recipe = load_recipe()
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
        write_clips(prepare(recipe, "test", arguments.work, jobs=arguments.threads, progress=show), clips_folder)
    elif not (clips_folder / HELD_OUT).exists():
        raise CheckpointError(_("no held-out clips in {folder}", folder=clips_folder), next="python -m model.training")
    scores = _score(recipe, checkpoint, clips_folder, arguments.threads)
    write_json(checkpoint / SCORES, scores)
    card = checkpoint / CARD
    if card.exists():
        write_text(card, with_scores(card.read_text(encoding="utf-8"), scores))
    print(score_table(scores), flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)
