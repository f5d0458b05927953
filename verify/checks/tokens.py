"""Greedy tokens against the reference's own, with ties told from faults by the reference's margin.

Two scores may each be off by the bound of the model's output, so where the reference prefers one token to another by
less than both together, a device may take either: a tie. From there on the texts differ for a good reason and are not
compared; up to there every token must be the same. Beside it the reference's tokens are forced on the device, and its
choices at every step compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import generation
from model.components import Inputs, Loaded
from verify.reference import bounds, numerics
from verify.reference.numerics import as_array
from verify.reference.points import LOGITS_POINT, described, scores
from verify.reference.values import Expected
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

Tokens = NDArray[np.int64]


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> dict[str, Any]:
    """Rows decoded freely, and the reference's tokens forced; what the `tokens` record holds.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    bound = logits_bound(loaded, expected)
    forced = generation.score(loaded, inputs, expected.tokens)
    reference = as_array(expected.scores)
    rows = zip(forced.argmax(axis=-1), expected.tokens.numpy(), reference, strict=True)
    return {
        "tokens": int(expected.tokens.shape[1]),
        "reference": described(expected),
        "expected": {"rel_l2": bound.rel_l2, "worst_element": bound.worst_element},
        "free": decoded(loaded, inputs, expected),
        "forced": [forced_run(*row, bound) for row in rows],
        "forced_scores": scores(forced, reference),
    }


def decoded(loaded: Loaded, inputs: Inputs, expected: Expected, **options: Any) -> list[dict[str, Any]]:
    """A free decoding by the library's `generate` with its `options`, row by row, as `free_run` judges it.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    bound = logits_bound(loaded, expected)
    taken, scores = generation.decode(loaded, inputs, expected.tokens.shape[1], **options)
    rows = zip(taken.numpy(), scores, expected.tokens.numpy(), as_array(expected.scores), strict=True)
    return [free_run(*row, bound) for row in rows]


def logits_bound(loaded: Loaded, expected: Expected) -> bounds.Bound:
    """How far the scores of any step may be from the reference's."""
    noise = expected.scores_noise[loaded.dtype]
    kind = bounds.kind_of(expected.points[LOGITS_POINT])
    return bounds.bound(bounds.arithmetic(loaded), loaded.dtype, "end_to_end", kind, noise)


def choice(taken: int, wanted: int, scores: numerics.Array, bound: bounds.Bound) -> dict[str, Any]:
    """By how much the reference's `scores` [vocab] prefer `wanted` to `taken`, and how much is still a tie."""
    size = float(np.sqrt(np.mean(np.square(scores))))
    margin = float(scores[wanted] - scores[taken])
    allowed = bound.worst_element * (abs(float(scores[wanted])) + abs(float(scores[taken])) + 2 * size)
    return {"taken": int(taken), "expected": int(wanted), "margin": margin, "tie_below": allowed}


def free_run(
    taken: Tokens, scores: numerics.Array, wanted: Tokens, reference: numerics.Array, bound: bounds.Bound
) -> dict[str, Any]:
    """Tokens [n] and scores [n, vocab] of a free decoding up to the first token that differs: there both have seen the
    same prefix. Scores that are out of bound at a step are a fault of its cache even where the token is the same.
    """
    differing = np.flatnonzero(taken != wanted)
    same = int(differing[0]) if differing.size else len(wanted)
    first = None
    if differing.size:
        first = choice(taken[same], wanted[same], reference[same], bound) | {"step": same}
    errors = [
        numerics.compare(ours, theirs).as_json()["rel_l2"]
        for ours, theirs in zip(scores[: same + 1], reference[: same + 1], strict=True)
    ]
    departs = next((step for step, error in enumerate(errors) if error is None or error > bound.rel_l2), None)
    tie = first is None or first["margin"] <= first["tie_below"]
    return {
        "same": same,
        "first_difference": first,
        "rel_l2": errors,
        "departs_at": departs,
        "passed": tie and departs is None,
    }


def forced_run(taken: Tokens, wanted: Tokens, scores: numerics.Array, bound: bounds.Bound) -> dict[str, Any]:
    """The choices [n] of a pass that was given the reference's tokens: each had the reference's prefix."""
    differences = [
        choice(taken[step], wanted[step], scores[step], bound) | {"step": int(step)}
        for step in np.flatnonzero(taken != wanted)
    ]
    wrong = [one for one in differences if one["margin"] > one["tie_below"]]
    return {"same": len(wanted) - len(differences), "ties": len(differences) - len(wrong), "wrong": wrong}


def problems(data: Mapping[str, Any]) -> list[str]:
    """Every wrong token, every step whose scores are out of bound."""
    found = []
    for number, row in enumerate(data["free"]):
        found += [f"row {number}: {text}" for text in free_problems(row, data["expected"]["rel_l2"])]
    for number, row in enumerate(data["forced"]):
        found += [
            f"row {number}: forced to the reference's tokens it takes {one['taken']} for {one['expected']} "
            f"at {one['step']}, against a margin of {one['margin']:.2g}"
            for one in row["wrong"][:1]
        ]
    if not data["forced_scores"]["finite"]:
        found.append("scores hold NaN or infinity")
    return found


def free_problems(row: Mapping[str, Any], expected: float) -> list[str]:
    """What is wrong with one row of a free decoding."""
    found = []
    first, step = row["first_difference"], row["departs_at"]
    if first is not None and first["margin"] > first["tie_below"]:
        found.append(
            f"token {first['step']} is {first['taken']}, the reference prefers {first['expected']} "
            f"by {first['margin']:.2g} (a tie below {first['tie_below']:.2g})"
        )
    if step is not None:
        error = row["rel_l2"][step]
        said = "hold NaN or infinity" if error is None else f"are off by {error:.1e}, expected below {expected:.1e}"
        found.append(f"the scores of token {step} {said}")
    return found


def check(session: Verification) -> Outcome:
    """Greedy tokens are the reference's, up to a tie; so is every choice along the reference's tokens."""
    data = measure(session.model, session.inputs, session.reference)
    wrong = problems(data)
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data, session.signature())
    same = min(row["same"] for row in data["free"])
    reason = f"{same} of {data['tokens']} tokens the same" + (", then a tie" if same < data["tokens"] else "")
    return Outcome(Status.PASS, reason, data, session.signature())
