"""The training loop: stages by step count, each step a function of seed and step number, resumable after any stop."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name that torch code knows

from env.atomic import replacing
from env.errors import CheckpointError
from env.language import Message, _
from model.training.architecture import build_model, build_processor
from model.training.batches import Batch, Sampler, augment, learning_rate
from model.training.dataset import Clips
from model.training.recipe import Recipe, Stage
from model.training.tasks import Task, prompt_parts

Progress = Callable[[str], None]
IGNORED = -100  # the label that cross entropy skips


@dataclass(frozen=True)
class Position:
    """Where training stands: the next step to make, counted inside a stage."""

    stage: int = 0
    step: int = 0


def ctc_loss(logits: torch.Tensor, labels: Sequence[Sequence[int]]) -> torch.Tensor:
    """CTC loss in nats a character; logits [B, T, 348], rows of equal length, blank 0."""
    lengths = torch.tensor([len(row) for row in labels])
    flat = torch.tensor([label for row in labels for label in row])
    frames = torch.full((logits.shape[0],), logits.shape[1])
    # CTC stays on the CPU: its CUDA kernel is not deterministic.
    scores = logits.float().cpu().log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(scores, flat, frames, lengths, blank=0, reduction="sum", zero_infinity=True) / lengths.sum()


def _made_of(recipe: Recipe, clips: Clips) -> str:
    """What a state was trained by and on, as a digest."""
    described = json.dumps([asdict(recipe), clips.made_by, len(clips)], sort_keys=True, default=str)
    return hashlib.sha256(described.encode() + clips.samples.tobytes()).hexdigest()


class Trainer:
    """The model, its optimiser and where they stand."""

    def __init__(
        self,
        recipe: Recipe,
        clips: Clips,
        work: Path,
        *,
        device: str = "cpu",
        steps_scale: float = 1.0,
        progress: Progress = print,
    ) -> None:
        self.recipe, self.work, self.device, self.progress = recipe, work, torch.device(device), progress
        self.steps_scale = steps_scale
        self.processor = build_processor(recipe)
        self.model = build_model(recipe, self.processor.tokenizer).to(self.device)
        self.position = Position()
        self._sampler = Sampler(clips, recipe.data, recipe.training.largest_batch)
        self._made_of = _made_of(recipe, clips)
        self._optimiser = self._new_optimiser()
        self._seconds = 0.0
        self._history: list[dict[str, float | str]] = []

    @property
    def state_file(self) -> Path:
        return self.work / "training-state.pt"

    def _new_optimiser(self) -> torch.optim.AdamW:
        training = self.recipe.training
        text = [*self.model.projector.parameters(), *self.model.language_model.parameters()]
        return torch.optim.AdamW(
            [{"params": list(self.model.encoder.parameters())}, {"params": text}],
            lr=0.0,
            betas=training.betas,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def steps(self, stage: Stage) -> int:
        return max(1, round(stage.steps * self.steps_scale))

    @property
    def stage(self) -> Stage:
        """The stage of the last step made."""
        index = self.position.stage if self.position.step else max(0, self.position.stage - 1)
        return self.recipe.stages[index]

    @property
    def where(self) -> str:
        """Where training stands, for a person."""
        if self.finished:
            return _("finished")
        stage = self.recipe.stages[self.position.stage]
        return _(
            "stage {stage}, step {step} of {steps}", stage=stage.name, step=self.position.step, steps=self.steps(stage)
        )

    def facts(self) -> dict[str, object]:
        """What to write down about how this checkpoint came to be."""
        return {
            "seed": self.recipe.seed,
            "steps": {stage.name: self.steps(stage) for stage in self.recipe.stages},
            "minutes_in_steps": round(self._seconds / 60, 1),
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")},
        }

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16)

    # Losses ----------------------------------------------------------------------------------------------------------

    def _encode(self, batch: Batch, rng: np.random.Generator, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder output [B, T, hidden] and the mid-layer CTC logits [B, T, 348] whose softmax is fed back."""
        waves = torch.from_numpy(batch.waves)
        features = self.processor.audio_processor(list(waves))["input_features"]
        features = augment(features, rng, self.recipe.augmentation, stage.augment_share).to(self.device)
        # The mid-layer logits are the encoder's own, caught on their way from the head to the feedback.
        caught: list[torch.Tensor] = []
        hook = self.model.encoder.out.register_forward_hook(lambda _module, _inputs, logits: caught.append(logits))
        try:
            with self._autocast(), torch.set_grad_enabled(stage.encoder_rate > 0):
                encoded = self.model.encoder(features)
        finally:
            hook.remove()
        return encoded, caught[0]

    def _ctc(self, encoded: torch.Tensor, mid_layer: torch.Tensor, batch: Batch) -> torch.Tensor:
        labels, share = batch.ctc_labels(), self.recipe.training.mid_layer_share
        with self._autocast():
            final = self.model.encoder.out(encoded)
        return (1 - share) * ctc_loss(final, labels) + share * ctc_loss(mid_layer, labels)

    def _text(self, encoded: torch.Tensor, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
        """Cross entropy of the answers, mean over the two tasks of each row."""
        with self._autocast():
            audio = self.model.projector(encoded)
        tasks = batch.draw_tasks(rng, self.recipe.tasks.punctuated_share)
        losses = [self._answer_loss(audio, task, batch) for task in tasks]
        return torch.stack(losses).mean()

    def _answer_loss(self, audio: torch.Tensor, tasks: Sequence[Task], batch: Batch) -> torch.Tensor:
        tokenizer = self.processor.tokenizer
        rest, labels = [], []
        for task, spoken in zip(tasks, batch.spoken, strict=True):
            after = tokenizer(prompt_parts(task.instruction)[1])["input_ids"]
            answer = [*tokenizer(" " + task.answer(spoken))["input_ids"], tokenizer.eos_token_id]
            rest.append(after + answer[:-1])
            labels.append([IGNORED] * (len(after) - 1) + answer)
        longest = max(map(len, rest))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rest], device=self.device)
        answers = torch.tensor([row + [IGNORED] * (longest - len(row)) for row in labels], device=self.device)
        embed = self.model.get_input_embeddings()
        before = torch.tensor([tokenizer(prompt_parts("")[0])["input_ids"]], device=self.device)
        # Padding stands on the right, where causal attention never looks: no mask is needed.
        parts = [embed(before).expand(len(ids), -1, -1), audio.float(), embed(ids)]
        with self._autocast():
            logits = self.model.language_model(
                inputs_embeds=torch.cat(parts, 1), use_cache=False, logits_to_keep=longest
            ).logits
        return F.cross_entropy(
            logits.float().flatten(0, 1),
            answers.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.recipe.training.label_smoothing,
        )

    # Steps -----------------------------------------------------------------------------------------------------------

    def step(self) -> dict[str, float]:
        """Make one step of the stage at `position`, advance, and return the losses."""
        stage = self.recipe.stages[self.position.stage]
        total = self.steps(stage)
        rng = np.random.default_rng([self.recipe.seed, 1000 + self.position.stage, self.position.step])
        factor = learning_rate(stage, self.position.step, total)
        for group, rate in zip(self._optimiser.param_groups, (stage.encoder_rate, stage.text_rate), strict=True):
            group["lr"] = rate * factor
        self.model.encoder.train(stage.encoder_rate > 0)
        batch = self._sampler.batch(rng, stage.batch_seconds, stage.long_share)
        encoded, mid_layer = self._encode(batch, rng, stage)
        losses: dict[str, torch.Tensor] = {}
        if stage.ctc_weight > 0:
            losses["ctc"] = self._ctc(encoded, mid_layer, batch)
        if stage.text_rate > 0:
            losses["text"] = self._text(encoded, batch, rng)
        weights = {"ctc": stage.ctc_weight, "text": 1.0}
        self._optimiser.zero_grad()
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.training.clip_norm)
        self._optimiser.step()
        done = self.position.step + 1
        self.position = Position(self.position.stage + 1) if done == total else Position(self.position.stage, done)
        return {name: loss.item() for name, loss in losses.items()}

    @property
    def finished(self) -> bool:
        return self.position.stage >= len(self.recipe.stages)

    def run(self, evaluate: Callable[[Trainer], str] | None = None) -> None:
        """Train from `position` to the end, saving as the recipe says; Ctrl-C saves and raises KeyboardInterrupt."""
        training = self.recipe.training
        while not self.finished:
            name, at = self.recipe.stages[self.position.stage].name, self.position.step
            total = self.steps(self.recipe.stages[self.position.stage])
            started = time.monotonic()
            try:
                losses = self.step()
            except KeyboardInterrupt:
                self.progress(_("interrupted: the last saved step stays; the same command goes on from there"))
                raise
            self._seconds += time.monotonic() - started
            self._history.append({"stage": name, "step": at + 1, **losses})
            last_of_stage = at + 1 == total
            if (at + 1) % training.save_every == 0 or last_of_stage:
                self.progress(self._line(name, at + 1, total, training.save_every))
                self.save()
            if evaluate and ((at + 1) % training.evaluate_every == 0 or last_of_stage):
                self.progress(evaluate(self))

    def _line(self, stage: str, step: int, total: int, window: int) -> Message:
        recent = [row for row in self._history[-window:] if row["stage"] == stage]
        losses = {
            name: np.mean([float(row[name]) for row in recent if name in row])
            for name in ("ctc", "text")
            if any(name in row for row in recent)
        }
        described = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
        return _(
            "{stage} {step}/{total}: {losses}; {minutes:.1f} min in steps",
            stage=stage,
            step=step,
            total=total,
            losses=described,
            minutes=self._seconds / 60,
        )

    # State -----------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write everything needed to go on, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "position": (self.position.stage, self.position.step),
            "seconds": self._seconds,
            "made_of": self._made_of,
        }
        with replacing(self.state_file) as temporary:
            torch.save(state, temporary)
        with (self.work / "losses.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in self._history)
        self._history.clear()

    def forget(self) -> None:
        """Start from nothing: remove the saved state and the losses beside it."""
        self.state_file.unlink(missing_ok=True)
        (self.work / "losses.jsonl").unlink(missing_ok=True)

    def resume(self) -> bool:
        """Go on from the saved state; False where there is none.

        Raises CheckpointError where the state is of another model, recipe or clips, or beyond this recipe's steps.
        """
        if not self.state_file.exists():
            return False
        state = torch.load(self.state_file, map_location=self.device, weights_only=True)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(
                _("{file} is of another model than recipe.toml describes", file=self.state_file),
                why=str(error).splitlines()[0],
                next="python -m model.training --restart",
            ) from error
        self._optimiser.load_state_dict(state["optimiser"])
        self.position = Position(*state["position"])
        if not self.finished and self.position.step >= self.steps(self.recipe.stages[self.position.stage]):
            raise CheckpointError(
                _(
                    "{file} stands at step {step} of its stage, which now ends before",
                    file=self.state_file,
                    step=self.position.step,
                ),
                why=_("it was made with more steps: another recipe, or another --steps-scale"),
                next="python -m model.training --restart",
            )
        if state.get("made_of") != self._made_of:
            raise CheckpointError(
                _("{file} was trained by another recipe, or on other clips", file=self.state_file),
                why=_("weights of two recipes would be described as those of one"),
                next="python -m model.training --restart",
            )
        self._seconds = float(state["seconds"])
        return True
