"""Level 2: greedy decoding repeats itself, and its cache changes nothing."""

from __future__ import annotations

from env.language import _
from model import generation
from model.components import Loaded
from verify.reference import bounds, pairs
from verify.reference.pairs import NEW_TOKENS
from verify.run.figures.tokens import GenerateFigures
from verify.run.judgement import of_generate
from verify.run.records import Outcome, failed, passed, skipped
from verify.run.verification import Verification


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
    steps = pairs.of_decoding(loaded, inputs, first)
    figures = GenerateFigures(
        prompt_tokens=inputs.positions,
        new_tokens=NEW_TOKENS,
        token_ids=first.tokens[0].tolist(),
        repeatable=bool((first.tokens == again.tokens).all()),
        greedy=generation.is_greedy(loaded, first.logits, first.tokens),
        cached_rel_l2=[step.figures.rel_l2 for step in steps],
        cached_rel_l2_limit=cached_limit(loaded),
    )
    if problems := of_generate(figures):
        return failed(problems, figures, session.signature())
    return passed(_("{tokens} tokens, repeatable", tokens=NEW_TOKENS), figures, session.signature())


def cached_limit(loaded: Loaded) -> float:
    """How far the logits of one cached step may be, in rel_l2, from those of an uncached pass on the same device."""
    layers = loaded.architecture.text.num_hidden_layers
    return bounds.cached_limit(bounds.arithmetic(loaded), loaded.dtype, layers)
