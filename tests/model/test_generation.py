from __future__ import annotations

import torch

from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, load, make_inputs
from model.device import resolve
from model.generation import generate, is_greedy, uncached_logits


def test_exactly_the_tokens_asked_for_are_decoded_and_each_is_said(tiny_bfloat16: Loaded, tiny_inputs: Inputs) -> None:
    calls: list[None] = []
    found = generate(tiny_bfloat16, tiny_inputs, 7, on_token=lambda: calls.append(None))
    assert tuple(found.tokens.shape) == (1, 7)
    assert found.logits is None
    assert len(calls) == 7


def test_decoding_goes_on_where_the_end_token_is_the_best(tiny_checkpoint: Checkpoint, tiny_inputs: Inputs) -> None:
    loaded = load(tiny_checkpoint, resolve("cpu"), "float32")
    free = generate(loaded, tiny_inputs, 5).tokens
    end = int(free[0, 1])
    loaded.model.generation_config.eos_token_id = end
    found = generate(loaded, tiny_inputs, 5, keep_logits=True)
    assert found.logits is not None
    assert int(found.logits[0, 1].argmax()) == end
    assert end not in found.tokens[0].tolist()
    assert is_greedy(loaded, found.logits, found.tokens)


def test_several_end_tokens_are_all_left_out(tiny_float32: Loaded) -> None:
    kept = tiny_float32.model.generation_config.eos_token_id
    logits = torch.zeros(1, 1, 1024)
    logits[..., :4] = torch.tensor([0.0, 3.0, 2.0, 1.0])
    for ends, best in ([1, 2], 3), (1, 2), (None, 1):
        tiny_float32.model.generation_config.eos_token_id = ends
        taken = [token for token in range(4) if is_greedy(tiny_float32, logits, torch.tensor([[token]]))]
        assert taken == [best]
    tiny_float32.model.generation_config.eos_token_id = kept


def test_of_equal_logits_any_may_be_taken(tiny_float32: Loaded) -> None:
    logits = torch.zeros(1, 1, 1024)
    logits[..., [5, 9]] = 2.0
    assert [is_greedy(tiny_float32, logits, torch.tensor([[token]])) for token in (5, 9, 6)] == [True, True, False]


def test_the_audio_token_is_never_taken(tiny_checkpoint: Checkpoint, tiny_inputs: Inputs) -> None:
    loaded = load(tiny_checkpoint, resolve("cpu"), "float32")
    audio = tiny_checkpoint.architecture.audio_token
    best = int(generate(loaded, tiny_inputs, 1).tokens[0, 0])
    head = loaded.model.get_output_embeddings().weight.data
    head[audio] = 2 * head[best]  # now the audio token's logit is the largest
    found = generate(loaded, tiny_inputs, 4, keep_logits=True)
    assert found.logits is not None
    assert int(found.logits[0, 0].argmax()) == audio
    assert audio not in found.tokens[0].tolist()
    assert is_greedy(loaded, found.logits, found.tokens)


def test_cached_steps_give_the_logits_of_an_uncached_pass(tiny_float32: Loaded) -> None:
    inputs = make_inputs(tiny_float32.architecture, batch=2, seq_len=47, seed=3)
    found = generate(tiny_float32, inputs, 12, keep_logits=True)
    assert found.logits is not None
    uncached = uncached_logits(tiny_float32, inputs, found.tokens)
    assert tuple(uncached.shape) == (2, 12, 1024)
    torch.testing.assert_close(found.logits, uncached, rtol=0, atol=1e-4)
    assert is_greedy(tiny_float32, uncached, found.tokens)
