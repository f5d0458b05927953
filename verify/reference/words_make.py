"""Makes the reference's words: a pass a token and clip, and the passes of the ideal devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from model.checkpoint import Checkpoint
from model.clips import Clip
from model.components import Inputs
from model.decoding import LOOP_CHECK_STEPS
from model.generation import end_tokens
from model.reference import Reference
from model.repetition import find_loop
from model.threads import of_reference
from verify.reference.noise import error, largest
from verify.reference.progress import WordsProgress
from verify.reference.rounding import RoundOnce
from verify.reference.values import Noise
from verify.reference.words import Spoken, Words, WordsDescription, text_of

# Ideal devices a clip that round at random. A run's inputs are one batch and take eight (noise.py); here the largest
# error is taken over six clips, twelve passes.
DEVICES = 2


def make(
    checkpoint: Checkpoint, clips: Sequence[Clip], inputs: Sequence[Inputs], processor: Any, run: WordsDescription
) -> Words:
    """What the reference says to `clips`, of which `inputs` were made, as `run` describes it."""
    progress = WordsProgress(len(clips))
    if run.dtype == "float32":  # of a full-size model
        count = of_reference(checkpoint.parameters) or torch.get_num_threads()
        progress.begin(checkpoint.name, checkpoint.parameters, run.dtype, count)
    wide = Reference(checkpoint, run.dtype, run.gelu)
    spoken = []
    for number, (clip, made) in enumerate(zip(clips, inputs, strict=True)):
        progress.at(number)
        tokens, scores = _greedy(wide, made, run.tokens, progress)
        ended = tokens[-1] in end_tokens(wide.model)
        text = text_of(processor, tokens, ended=ended)
        spoken.append(Spoken(clip.name, clip.language, text, torch.tensor(tokens), scores, ended))
    exact = torch.float64 if run.dtype == "float64" else torch.float32
    noise = {}
    for dtype in run.dtypes:
        narrow = Reference(checkpoint, dtype, run.gelu)
        errors: list[Noise] = []
        for number, (made, one) in enumerate(zip(inputs, spoken, strict=True)):
            progress.at(number, dtype)
            errors += _noise(narrow, made, one, exact, progress)
        noise[dtype] = largest(errors)
    return Words(run, tuple(spoken), noise)


def _greedy(
    reference: Reference, inputs: Inputs, most: int, progress: Callable[[], None]
) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens of one clip and their scores [n, vocab], without a cache: the audio once, then a pass a token.

    It ends as decoding does (model/decoding.py): at an end token, at `most`, or in a repetition loop.
    """
    audio = reference.project(reference.encode(inputs.features))
    ids, scores = inputs.input_ids, []
    tokens: list[int] = []
    ends = end_tokens(reference.model)
    while True:
        last = reference.language_model(reference.splice(ids, audio))[:, -1]
        scores.append(last[0])
        tokens.append(int(last.argmax()))
        progress()
        looped = len(tokens) % LOOP_CHECK_STEPS == 0 and find_loop(tokens) is not None
        if tokens[-1] in ends or len(tokens) == most or looped:
            return tokens, torch.stack(scores)
        ids = torch.cat([ids, torch.tensor([[tokens[-1]]])], dim=1)


def _noise(
    narrow: Reference, inputs: Inputs, spoken: Spoken, exact: torch.dtype, progress: Callable[[], None]
) -> Iterable[Noise]:
    """Of each ideal device the error of its scores at every step of the reference's tokens."""
    ids = torch.cat([inputs.input_ids, spoken.tokens[None, :-1]], dim=1)
    for seed in range(DEVICES):
        with RoundOnce(exact, seed):
            logits = narrow.forward(inputs.features, ids)
        progress()
        steps = logits[0, inputs.positions - 1 :]
        yield from (error(ours, theirs) for ours, theirs in zip(steps, spoken.scores, strict=True))
