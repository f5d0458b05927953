"""Rotary angles multiplied one by one are the library's own, and need no matrix product."""

from __future__ import annotations

import pytest
import torch

from model import components, rotary
from model.checkpoint import Checkpoint
from model.components import Loaded
from model.device import resolve


def angles(loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    positions = torch.arange(4096)[None]
    cosine, sine = loaded.model.language_model.model.rotary_emb(torch.zeros(1, dtype=loaded.torch_dtype), positions)
    return cosine, sine


@pytest.mark.slow
def test_they_are_the_library_s_bit_for_bit_up_to_the_last_position(tiny_checkpoint: Checkpoint) -> None:
    loaded = components.load(tiny_checkpoint, resolve("cpu"), "float32")
    of_the_library = angles(loaded)
    assert rotary.multiply_one_by_one(loaded.model)
    assert all(torch.equal(one, other) for one, other in zip(angles(loaded), of_the_library, strict=True))
    with torch.profiler.profile() as profile:
        angles(loaded)
    assert not [event.key for event in profile.key_averages() if "mm" in event.key]


def test_a_model_without_any_says_so() -> None:
    assert not rotary.multiply_one_by_one(torch.nn.Linear(2, 2))
