"""Level 2: greedy decoding repeats itself, and its cache changes nothing."""

from __future__ import annotations

from env.language import _
from model import generation
from verify.reference import numerics
from verify.run.figures.tokens import GenerateFigures
from verify.run.records import Outcome, failed, passed, skipped
from verify.run.verification import Verification

NEW_TOKENS = 16


def check(session: Verification) -> Outcome:
    """Greedy decoding repeats itself, and its cached steps give the logits of one uncached pass over the same tokens.

    A cache that is stale, misplaced or rounded wrongly shows at the token where it is first read.
    """
    loaded, inputs = session.model, session.inputs
    room = loaded.architecture.text.max_position_embeddings - inputs.positions
    if room < NEW_TOKENS:
        return skipped(
            _(
                "--seq-len {seq_len} leaves {room} positions, {tokens} are decoded",
                seq_len=session.seq_len,
                room=room,
                tokens=NEW_TOKENS,
            )
        )
    first = generation.generate(loaded, inputs, NEW_TOKENS, keep_logits=True)
    again = generation.generate(loaded, inputs, NEW_TOKENS)
    assert first.logits is not None
    cached = numerics.as_array(first.logits)
    uncached = numerics.as_array(generation.uncached_logits(loaded, inputs, first.tokens))
    steps = [numerics.compare(cached[:, step], uncached[:, step]) for step in range(NEW_TOKENS)]
    limit = numerics.cached_limit(loaded.device.kind, loaded.dtype, loaded.architecture.text.num_hidden_layers)
    limits = numerics.Limits({"rel_l2": limit}, "tolerances.toml, [cached]")
    wrong = [(step, problem) for step, one in enumerate(steps) for problem in numerics.judge(one, limits)]
    figures = GenerateFigures(
        prompt_tokens=inputs.positions,
        new_tokens=NEW_TOKENS,
        token_ids=first.tokens[0].tolist(),
        repeatable=bool((first.tokens == again.tokens).all()),
        cached_rel_l2=[step.figures.rel_l2 for step in steps],
        cached_rel_l2_limit=limit,
    )
    problems = []
    if not figures.repeatable:
        problems.append(_("a second decoding gave other tokens"))
    if not bool((first.tokens == generation.greedy(loaded, first.logits)).all()):
        problems.append(_("a token was taken that is not the largest of its logits"))
    problems += [
        _("cached decoding departs from an uncached pass at token {step}: {problem}", step=step, problem=problem)
        for step, problem in wrong[:1]
    ]
    if problems:
        return failed(problems, figures, session.signature())
    return passed(_("{tokens} tokens, repeatable", tokens=NEW_TOKENS), figures, session.signature())
