"""Level 2: greedy decoding repeats itself, and its cache changes nothing."""

from __future__ import annotations

from model import generation
from model.components import Loaded
from verify.reference import bounds, numerics, pairs
from verify.reference.pairs import NEW_TOKENS
from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """Greedy decoding repeats itself, and its cached steps give the logits of one uncached pass over the same tokens.

    A cache that is stale, misplaced or rounded wrongly shows at the token where it is first read.
    """
    loaded, inputs = session.model, session.inputs
    room = loaded.architecture.text.max_position_embeddings - inputs.positions
    if room < NEW_TOKENS:
        return Outcome(Status.SKIP, f"--seq-len {session.seq_len} leaves {room} positions, {NEW_TOKENS} are decoded")
    first = generation.generate(loaded, inputs, NEW_TOKENS, keep_logits=True)
    again = generation.generate(loaded, inputs, NEW_TOKENS)
    assert first.logits is not None
    steps = pairs.of_decoding(loaded, inputs, first)
    limits = cached_limits(loaded)
    wrong = [(step, problem) for step, one in enumerate(steps) for problem in numerics.judge(one, limits)]
    data = {
        "prompt_tokens": inputs.positions,
        "new_tokens": NEW_TOKENS,
        "token_ids": first.tokens[0].tolist(),
        "repeatable": bool((first.tokens == again.tokens).all()),
        "cached_rel_l2": [step.as_json()["rel_l2"] for step in steps],
        "cached_rel_l2_limit": limits.values["rel_l2"],
    }
    problems = []
    if not data["repeatable"]:
        problems.append("a second decoding gave other tokens")
    if not bool((first.tokens == generation.greedy(loaded, first.logits)).all()):
        problems.append("a token was taken that is not the largest of its logits")
    problems += [
        f"cached decoding departs from an uncached pass at token {step}: {problem}" for step, problem in wrong[:1]
    ]
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, session.signature())
    return Outcome(Status.PASS, f"{NEW_TOKENS} tokens, repeatable", data, session.signature())


def cached_limits(loaded: Loaded) -> numerics.Limits:
    """How far the logits of one cached step may be, in rel_l2, from those of an uncached pass on the same device."""
    layers = loaded.architecture.text.num_hidden_layers
    limit = bounds.cached_limit(bounds.arithmetic(loaded), loaded.dtype, layers)
    return numerics.Limits({"rel_l2": limit}, "limits.toml, [cached]")
