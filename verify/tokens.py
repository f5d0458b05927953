"""Greedy tokens against the reference's own, with ties told from faults by the reference's margin.

Two scores may each be off by the band of the model's output, so where the reference prefers one token to another by
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
from verify import bands, layers, numerics
from verify.expected import Expected
from verify.parity import as_array

Tokens = NDArray[np.int64]

OUTPUT = (layers.LOGITS, "out of", 0, 0)


def measure(loaded: Loaded, inputs: Inputs, expected: Expected) -> dict[str, Any]:
    """Rows decoded freely, and the reference's tokens forced; what the `tokens` record holds.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    wanted, reference = expected.tokens.numpy(), as_array(expected.scores)
    band = output_band(loaded, expected)
    taken = generation.generate(loaded, inputs, wanted.shape[1]).tokens.numpy()
    forced = as_array(generation.choosable(loaded.model, generation.uncached_logits(loaded, inputs, expected.tokens)))
    rows = zip(taken, forced.argmax(axis=-1), wanted, reference, strict=True)
    return {
        "tokens": int(wanted.shape[1]),
        "reference": layers.described(expected),
        "noise": band.worst_element,
        "rows": [
            {"free": free_run(free, want, scores, band), "forced": forced_run(force, want, scores, band)}
            for free, force, want, scores in rows
        ],
        "scores": layers.scores(forced, reference),
    }


def output_band(loaded: Loaded, expected: Expected) -> bands.Band:
    """The band of the model's output end to end."""
    point = expected.points[OUTPUT]
    noise = expected.noise[loaded.dtype]["end_to_end"][OUTPUT]
    return bands.band(layers.arithmetic(loaded), loaded.dtype, "end_to_end", bands.kind_of(point), noise)


def choice(taken: int, wanted: int, scores: numerics.Array, band: bands.Band) -> dict[str, Any]:
    """By how much the reference's `scores` [vocab] prefer `wanted` to `taken`, and how much is still a tie."""
    size = float(np.sqrt(np.mean(np.square(scores))))
    margin = float(scores[wanted] - scores[taken])
    allowed = band.worst_element * (abs(float(scores[wanted])) + abs(float(scores[taken])) + 2 * size)
    return {"taken": int(taken), "expected": int(wanted), "margin": margin, "tie_below": allowed}


def free_run(taken: Tokens, wanted: Tokens, scores: numerics.Array, band: bands.Band) -> dict[str, Any]:
    """Tokens [n] of a free decoding up to the first that differs; there both saw the same prefix."""
    differing = np.flatnonzero(taken != wanted)
    if not differing.size:
        return {"same": len(wanted), "first_difference": None, "passed": True}
    step = int(differing[0])
    first = choice(taken[step], wanted[step], scores[step], band) | {"step": step}
    return {"same": step, "first_difference": first, "passed": first["margin"] <= first["tie_below"]}


def forced_run(taken: Tokens, wanted: Tokens, scores: numerics.Array, band: bands.Band) -> dict[str, Any]:
    """The choices [n] of a pass that was given the reference's tokens: each had the reference's prefix."""
    differences = [
        choice(taken[step], wanted[step], scores[step], band) | {"step": int(step)}
        for step in np.flatnonzero(taken != wanted)
    ]
    wrong = [one for one in differences if one["margin"] > one["tie_below"]]
    return {"same": len(wanted) - len(differences), "ties": len(differences) - len(wrong), "wrong": wrong}


def problems(data: Mapping[str, Any]) -> list[str]:
    """Every wrong token, and scores that are not finite."""
    found = []
    for number, row in enumerate(data["rows"]):
        first = row["free"]["first_difference"]
        if not row["free"]["passed"]:
            found.append(
                f"row {number}: token {first['step']} is {first['taken']}, the reference prefers {first['expected']} "
                f"by {first['margin']:.2g} (a tie below {first['tie_below']:.2g})"
            )
        found += [
            f"row {number}: forced to the reference's tokens it takes {one['taken']} for {one['expected']} "
            f"at {one['step']}, against a margin of {one['margin']:.2g}"
            for one in row["forced"]["wrong"][:1]
        ]
    if not data["scores"]["finite"]:
        found.append("scores hold NaN or infinity")
    return found
