"""The texts of a checkpoint without known scores, held against those of the same weights on a CPU.

A part of the check `speech`. As `tokens` does, it lets a device take another token only where the reference's margin is
within the noise of the arithmetic: decoding by itself as recordings are decoded (a padded batch, with a cache), up to
the first token that differs; and forced along the reference's tokens, at every one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from model import generation
from model.components import Inputs, Loaded
from model.decoding import Decoded, Decoding
from verify.checks.tokens import choice, forced_run
from verify.reference import bounds, numerics
from verify.reference.figures import Bound, ReferenceFigures
from verify.reference.numerics import as_array
from verify.reference.words import Spoken, Words
from verify.run.figures.tokens import ChoiceFigures
from verify.run.figures.words import DistanceFigures, WordsFigures, WordsRow
from verify.run.spoken import words_bound
from verify.run.verification import Verification
from verify.speech import edits, normalisers, scores

NORMALISER = "none"  # letter by letter: both texts are of the same weights


def measure(session: Verification) -> WordsFigures:
    """The clips decoded freely, and the reference's tokens forced.

    Raises:
        ReferenceFileError, OutOfMemoryError, DeviceError, UsageError.
    """
    words, clips = session.words, session.clips
    loaded = session.model
    noise = words.noise[loaded.dtype]
    bound = words_bound(bounds.arithmetic(loaded), loaded.dtype, noise)
    reader = session.reader(Decoding(max_new_tokens=words.description.tokens, batch_size=len(clips)))
    texts = reader.decode([clip.samples for clip in clips], [clip.prompt for clip in clips])
    rows = [
        row(loaded, inputs, spoken, decoded, bound)
        for inputs, spoken, decoded in zip(session.clip_inputs, words.spoken, texts, strict=True)
    ]
    return WordsFigures(
        reference=described(words), noise=Bound(*noise), expected=bound, rows=rows, distance=distance(rows)
    )


def row(loaded: Loaded, inputs: Inputs, spoken: Spoken, decoded: Decoded, bound: Bound) -> WordsRow:
    """One clip: the device's text, and its scores along the reference's tokens."""
    best, reference = spoken.tokens.numpy(), as_array(spoken.scores)
    logits = generation.uncached_logits(loaded, inputs, spoken.tokens[None])[0].double().numpy()
    same, first = free(decoded.ids, best, reference, bound)
    errors = [numerics.compare(ours, theirs).figures.rel_l2 for ours, theirs in zip(logits, reference, strict=True)]
    return WordsRow(
        clip=spoken.clip,
        language=spoken.language,
        text=decoded.text,
        cpu=spoken.text,
        tokens=len(best),
        ended=spoken.ended,
        same=same,
        first_difference=first,
        forced=forced_run(logits.argmax(axis=-1), best, reference, bound),
        rel_l2=errors,
    )


def free(
    taken: Sequence[int], best: NDArray[np.int64], reference: numerics.Array, bound: Bound
) -> tuple[int, ChoiceFigures | None]:
    """How many tokens are the reference's, and the first that is not; None too where one text only goes on."""
    both = min(len(taken), len(best))
    differing = np.flatnonzero(np.asarray(taken[:both], dtype=np.int64) != best[:both])
    if not differing.size:
        return len(taken), None
    step = int(differing[0])
    return step, choice(step, taken[step], int(best[step]), reference[step], bound)


def distance(rows: Sequence[WordsRow]) -> DistanceFigures:
    """Edits between the reference's texts and the device's."""
    cpu, device = [each.cpu for each in rows], [each.text for each in rows]
    normaliser = normalisers.load(NORMALISER)
    words = scores.error_rate(edits.word_counts(cpu, device), "word", normaliser)
    characters = scores.error_rate(edits.character_counts(cpu, device), "character", normaliser)
    return DistanceFigures(
        words=words.value,
        characters=characters.value,
        word_counts=dict(words.counts),
        character_counts=dict(characters.counts),
        signature=words.signature,
    )


def described(words: Words) -> ReferenceFigures:
    description = words.description
    return ReferenceFigures(
        device="cpu",
        dtype=description.dtype,
        sha256=words.sha256,
        depth="texts",
        versions=dict(description.versions),
        unkept=words.unkept or UNSET,
    )
