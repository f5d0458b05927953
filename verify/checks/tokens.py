"""Greedy tokens against the reference's own, with ties told from faults by the reference's margin.

Two scores may each be off by the bound of the model's output, so where the reference prefers one token to another by
less than both together, a device may take either: a tie. From there on the texts differ for a good reason and are not
compared; up to there every token must be the same. Beside it the reference's tokens are forced on the device, and its
choices at every step compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from env.language import _
from model import generation
from model.components import Inputs, Loaded
from verify.reference import bounds, numerics
from verify.reference.figures import Bound, NoiseFigures
from verify.reference.numerics import as_array
from verify.reference.points import described, scores
from verify.reference.values import LOGITS_POINT, Expected
from verify.run.figures.tokens import ChoiceFigures, ForcedRunFigures, FreeRunFigures, TokensFigures
from verify.run.judgement import of_tokens
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

Tokens = NDArray[np.int64]


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> TokensFigures:
    """Rows decoded freely, and the reference's tokens forced.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    bound = logits_bound(loaded, expected)
    forced = generation.score(loaded, inputs, expected.tokens)
    reference = as_array(expected.scores)
    rows = zip(forced.argmax(axis=-1), expected.tokens.numpy(), reference, strict=True)
    return TokensFigures(
        tokens=int(expected.tokens.shape[1]),
        reference=described(expected),
        expected=bound,
        noise=NoiseFigures(*expected.scores_noise[loaded.dtype]),
        free=decoded(loaded, inputs, expected),
        forced=[forced_run(*row, bound) for row in rows],
        forced_scores=scores(forced, reference),
    )


def decoded(loaded: Loaded, inputs: Inputs, expected: Expected, **options: Any) -> list[FreeRunFigures]:
    """A free decoding by the library's `generate` with its `options`, row by row, as `free_run` judges it.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    bound = logits_bound(loaded, expected)
    taken, step_scores = generation.decode(loaded, inputs, expected.tokens.shape[1], **options)
    rows = zip(taken.numpy(), step_scores, expected.tokens.numpy(), as_array(expected.scores), strict=True)
    return [free_run(*row, bound) for row in rows]


def logits_bound(loaded: Loaded, expected: Expected) -> Bound:
    """How far the scores of any step may be from the reference's."""
    noise = expected.scores_noise[loaded.dtype]
    kind = bounds.kind_of(expected.points[LOGITS_POINT])
    return bounds.bound(bounds.arithmetic(loaded), loaded.dtype, "end_to_end", kind, noise)


def choice(step: int, taken: int, best: int, scores: numerics.Array, bound: Bound) -> ChoiceFigures:
    """By how much the reference's `scores` [vocab] prefer `best` to `taken`, and how much is still a tie."""
    size = float(np.sqrt(np.mean(np.square(scores))))
    margin = float(scores[best] - scores[taken])
    allowed = bound.worst_element * (abs(float(scores[best])) + abs(float(scores[taken])) + 2 * size)
    return ChoiceFigures(step=int(step), taken=int(taken), expected=int(best), margin=margin, tie_below=allowed)


def free_run(
    taken: Tokens, scores: numerics.Array, best: Tokens, reference: numerics.Array, bound: Bound
) -> FreeRunFigures:
    """Tokens [n] and scores [n, vocab] of a free decoding up to the first token that differs: there both have seen the
    same prefix. Scores that are out of bound at a step are a fault of its cache even where the token is the same.
    """
    differing = np.flatnonzero(taken != best)
    same = int(differing[0]) if differing.size else len(best)
    first = choice(same, taken[same], best[same], reference[same], bound) if differing.size else None
    errors = [
        numerics.compare(ours, theirs).figures.rel_l2
        for ours, theirs in zip(scores[: same + 1], reference[: same + 1], strict=True)
    ]
    departs = next((step for step, error in enumerate(errors) if error is None or error > bound.rel_l2), None)
    return FreeRunFigures(
        same=same,
        first_difference=first,
        rel_l2=errors,
        departs_at=departs,
        passed=(first is None or first.tie) and departs is None,
    )


def forced_run(taken: Tokens, best: Tokens, scores: numerics.Array, bound: Bound) -> ForcedRunFigures:
    """The choices [n] of a pass over the reference's tokens: each had the reference's prefix."""
    differences = [choice(step, taken[step], best[step], scores[step], bound) for step in np.flatnonzero(taken != best)]
    wrong = [difference for difference in differences if not difference.tie]
    return ForcedRunFigures(same=len(best) - len(differences), ties=len(differences) - len(wrong), wrong=wrong)


def check(session: Verification) -> Outcome:
    """Greedy tokens are the reference's, up to a tie; so is every choice along the reference's tokens."""
    figures = measure(session.model, session.inputs, session.reference)
    if wrong := of_tokens(figures):
        return failed(wrong, figures, session.signature())
    same, tokens = min(row.same for row in figures.free), figures.tokens
    if same < tokens:
        reason = _("{same} of {tokens} tokens the same, then a tie", same=same, tokens=tokens)
    else:
        reason = _("{same} of {tokens} tokens the same", same=same, tokens=tokens)
    return passed(reason, figures, session.signature())
