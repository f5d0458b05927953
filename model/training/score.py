"""Scores a checkpoint on held-out clips, one clip at a time as a user would run it: WER, CER, exact texts, BLEU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jiwer
import msgspec
import numpy as np
import torch
from sacrebleu.metrics import BLEU

from env.language import _
from model.audio import SAMPLE_RATE
from model.checkpoint import Checkpoint, weights_sha256
from model.training.batches import Sampler
from model.training.dataset import Clips
from model.training.number_words import LANGUAGES, ctc_transcript
from model.training.recipe import Recipe
from model.training.speech import Wave
from model.training.tasks import Task, prompt, targets

RESAMPLES = 1000  # bootstrap
BOOTSTRAP_SEED = 12345  # sacrebleu's own default, used for both
TOKENS_PER_SECOND = 12  # more than any voice of the recipe speaks; bounds a generation that loops


@dataclass(frozen=True)
class Answer:
    """One text that a checkpoint gave, beside the right one. `language` is the speech's; `target` the text's."""

    task: str
    language: str
    target: str
    reference: str
    hypothesis: str


class Reader:
    """A checkpoint and its processor, ready to read clips."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    @torch.no_grad()
    def spell(self, wave: Wave) -> str:
        """What the CTC head alone reads: the best path, repeats and blanks (0) removed, code points to letters."""
        features = self._processor.audio_processor([torch.from_numpy(wave)])["input_features"].to(self._model.device)
        encoded = self._model.encoder(features.to(self._model.dtype))
        path = torch.unique_consecutive(self._model.encoder.out(encoded)[0].argmax(-1))
        return "".join(chr(point) for point in path.tolist() if point)

    @torch.no_grad()
    def answer(self, wave: Wave, task: Task) -> str:
        """The text that greedy decoding gives for one clip and task."""
        inputs = self._processor(prompt(task.instruction), torch.from_numpy(wave), return_tensors="pt")
        inputs = inputs.to(self._model.device)
        limit = 16 + int(TOKENS_PER_SECOND * len(wave) / SAMPLE_RATE)
        tokens = self._model.generate(**inputs, max_new_tokens=limit, do_sample=False, num_beams=1)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        return str(self._processor.tokenizer.decode(new, skip_special_tokens=True)).strip()


def ask(
    reader: Reader,
    waves: Sequence[Wave],
    spoken: Sequence[tuple[str, Sequence[Sequence[int]]]],
    tasks: Sequence[str],
    progress: Callable[[str], None] = lambda line: None,
) -> list[Answer]:
    """Ask for every task of `tasks` (ctc, raw, punctuated, translation) on every clip.

    `spoken` holds, for each wave, its language and its number sequences. English is translated into one of its targets
    in turn, everything else into English.
    """
    answers = []
    for index, (wave, (language, numbers)) in enumerate(zip(waves, spoken, strict=True)):
        for name in tasks:
            if name == "ctc":
                right = " ".join(ctc_transcript(language, sequence) for sequence in numbers)
                answers.append(Answer(name, language, language, right, reader.spell(wave)))
                continue
            others = targets(language)
            target = others[index // len(LANGUAGES) % len(others)] if name == "translation" else language
            task = Task(name, target)
            answers.append(Answer(name, language, target, task.answer(numbers), reader.answer(wave, task)))
        if (index + 1) % 50 == 0:
            progress(_("scored {done} of {count} clips", done=index + 1, count=len(waves)))
    return answers


def _rate(answers: Sequence[Answer], *, characters: bool) -> tuple[float, float, float]:
    """Sum of edits over sum of reference tokens in percent, with a 95 % bootstrap interval over clips."""
    edits, tokens = [], []
    for answer in answers:
        reference, hypothesis = answer.reference, answer.hypothesis
        if characters:
            counts: Any = jiwer.process_characters(reference.replace(" ", ""), hypothesis.replace(" ", ""))
        else:
            counts = jiwer.process_words(reference, hypothesis)
        edits.append(counts.substitutions + counts.deletions + counts.insertions)
        tokens.append(counts.hits + counts.substitutions + counts.deletions)
    chosen = np.random.default_rng(BOOTSTRAP_SEED).integers(len(edits), size=(RESAMPLES, len(edits)))
    rates = 100 * np.array(edits)[chosen].sum(1) / np.array(tokens)[chosen].sum(1)
    low, high = np.percentile(rates, [2.5, 97.5])
    return 100 * sum(edits) / sum(tokens), float(low), float(high)


def summary(answers: Sequence[Answer], *, bleu: bool) -> dict[str, Any]:
    """Scores of `answers` in percent, each rate with its 95 % interval."""
    wer, wer_low, wer_high = _rate(answers, characters=False)
    cer, *_interval = _rate(answers, characters=True)
    scores: dict[str, Any] = {
        "n": len(answers),
        "wer": round(wer, 2),
        "wer_95": [round(wer_low, 2), round(wer_high, 2)],
        "cer": round(cer, 2),
        "exact": round(100 * sum(answer.reference == answer.hypothesis for answer in answers) / len(answers), 1),
    }
    if bleu:
        metric = BLEU()
        score: Any = metric.corpus_score(
            [answer.hypothesis for answer in answers], [[answer.reference for answer in answers]], n_bootstrap=RESAMPLES
        )
        scores |= {"bleu": round(score.score, 1), "bleu_95_half_width": round(score._ci, 1)}
        scores["bleu_signature"] = str(metric.get_signature())
    return scores


def table(answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """Task -> language of the speech (and "all") -> scores. Translation is split into to-english and from-english."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        name = answer.task
        if name == "translation":
            name = "to-english" if answer.target == "en" else "from-english"
        groups.setdefault(name, []).append(answer)
    scores: dict[str, dict[str, Any]] = {}
    for name, members in groups.items():
        bleu = name == "to-english"
        scores[name] = {"all": summary(members, bleu=bleu)}
        for language in LANGUAGES:
            spoken = [answer for answer in members if answer.language == language]
            if spoken and len(spoken) < len(members):
                scores[name][language] = summary(spoken, bleu=bleu)
    return scores


def ask_clips(
    reader: Reader, clips: Clips, tasks: Sequence[str], progress: Callable[[str], None] = lambda line: None
) -> list[Answer]:
    """Ask about every clip of `clips` as it is."""
    spoken = [(utterance.language, [utterance.numbers]) for utterance in clips.utterances]
    return ask(reader, [clips.wave(index) for index in range(len(clips))], spoken, tasks, progress)


def ask_joined(reader: Reader, clips: Clips, recipe: Recipe) -> list[Answer]:
    """Ask for transcripts of clips joined to 5 to 20 s: several encoder blocks, a long prefill, a long answer."""
    sampler = Sampler(clips, recipe.data, largest_batch=1)
    waves: list[Wave] = []
    spoken: list[tuple[str, Sequence[Sequence[int]]]] = []
    for number in range(recipe.data.long_test_clips):
        batch = sampler.batch(np.random.default_rng([recipe.seed, 2000, number]), recipe.data.long_seconds[0], 1.0)
        waves.append(batch.waves[0])
        spoken.append((batch.languages[0], batch.spoken[0]))
    return ask(reader, waves, spoken, ["ctc", "raw"])


class ScoreSignature(msgspec.Struct, frozen=True, kw_only=True):
    """What held-out scores were made of and how, in the order in which scores.json has it."""

    weights_sha256: str
    audio_sha256: str
    clips: int
    seconds: float
    dtype: str = "float32 arithmetic on the bfloat16 weights"
    device: str = "cpu"
    decoding: str = "greedy, one clip at a time"
    normaliser: str = "none: texts compared as they are"
    aggregation: str = "sum of edits over sum of reference words (cer: characters without spaces)"
    interval: str = f"95 %, percentile bootstrap over clips, {RESAMPLES} resamples, seed {BOOTSTRAP_SEED}"
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


def signature(checkpoint: Checkpoint, clips: Clips) -> ScoreSignature:
    """What the scores were made of and how, so that they can be made again."""
    return ScoreSignature(
        weights_sha256=weights_sha256(checkpoint),
        audio_sha256=hashlib.sha256(clips.samples.tobytes()).hexdigest(),
        clips=len(clips),
        seconds=round(len(clips.samples) / SAMPLE_RATE, 2),
        versions={name: version(name) for name in ("torch", "transformers", "jiwer", "sacrebleu")},
    )
