"""A model over two emulated cards, and over one and the host's memory: what one card alone computes, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from env.device_name import JOINED
from model import cards, device_map
from model.device_map import Rooms
from tests.env.npu_emulator.on_device.test_granite_speech import AUDIO, FRAMES, small_model

ROOM = 1 << 30


def answers(model: Any) -> dict[str, torch.Tensor]:
    """Logits, and ids by greedy decoding with each cache and by beams, for inputs on the first card."""
    ids = torch.tensor([[5, 6, 7] + [AUDIO] * (3 * -(-FRAMES // 15)) + [8, 9, 10, 11]]).to("npu:0")
    features = torch.randn(1, FRAMES, 160, generator=torch.Generator().manual_seed(1)).to("npu:0")
    given = {"input_ids": ids, "input_features": features, "attention_mask": torch.ones_like(ids)}
    kinds: dict[str, dict[str, Any]] = {
        "dynamic": {},
        "static": {"cache_implementation": "static"},
        "beams": {"num_beams": 2},
    }
    with torch.inference_mode():
        made = {
            name: model.generate(**given, max_new_tokens=6, do_sample=False, **options)
            for name, options in kinds.items()
        }
        made["logits"] = model(**given, use_cache=False).logits
        made["audio"] = model.get_audio_features(features)
    return {name: value.cpu() for name, value in made.items()}


def tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    return itertools.chain(model.named_parameters(), model.named_buffers())


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    return answers(small_model().to("npu:0"))


def sizes() -> tuple[int, int]:
    """Bytes of the language model, and of all."""
    model = small_model()
    language = sum(tensor.nbytes for tensor in model.language_model.parameters())
    return language, sum(tensor.nbytes for tensor in model.parameters())


@pytest.mark.parametrize("first", [0.3, 0.7, 0.9, 1.1])
def test_two_cards_give_what_one_gives(alone: dict[str, torch.Tensor], first: float) -> None:
    """Wherever the border lies: within the language model, within the encoder, before or after its middle."""
    model = small_model()
    language, whole = sizes()
    layer = max(tensor.nbytes for tensor in model.parameters())
    room = int(first * language) if first < 1 else int(language + (first - 0.6) * (whole - language))
    places = device_map.put(model, plan_of(model, [room + layer, ROOM]), ["npu:0", "npu:1"])
    assert set(places.values()) == {"npu:0", "npu:1"}
    assert {tensor.device.type for _name, tensor in tensors(model)} == {"npu"}
    split = answers(model)
    assert [name for name, value in alone.items() if not torch.equal(split[name], value)] == []


def plan_of(model: Any, rooms: list[int], host: int = ROOM) -> device_map.Places:
    places = device_map.plan(model, Rooms(rooms, host))
    assert places is not None
    return places


def test_what_a_card_cannot_hold_stays_on_the_host_and_is_computed_on_the_card(alone: dict[str, torch.Tensor]) -> None:
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = device_map.put(model, plan_of(model, [sizes()[0]]), ["npu:0"])
    assert set(places.values()) == {"npu:0", "cpu"}
    split = answers(model)
    assert [name for name, value in alone.items() if not torch.equal(split[name], value)] == []
    state = device_map.state_dict(model)
    assert [name for name, value in before.items() if not torch.equal(state[name].cpu(), value)] == []


def test_tensors_of_two_cards_do_not_meet_in_one_operator() -> None:
    one, other = torch.ones(3, device="npu:0"), torch.ones(3, device="npu:1")
    with pytest.raises(RuntimeError, match="at least two devices, npu:0 and npu:1!"):
        one + other
    assert torch.equal((one + other.to("npu:0")).cpu(), torch.full((3,), 2.0))


def test_the_visible_cards_are_one_device() -> None:
    both = cards.resolve("npu:1")
    assert JOINED.join(card.label for card in both.cards) == "npu:1+npu:0"
    assert torch.npu.current_device() == 1  # type: ignore[attr-defined]
    physical = both.physical or {}
    assert [physical["index"], *(card["index"] for card in physical["others"])] == [1, 0]
    assert both.reset_peak_memory()
    kept = [torch.ones(1000, device=card.torch_device) for card in both.cards]
    both.synchronize()
    peak = both.peak_memory()
    assert peak["peak_bytes"] == sum(peak["cards"].values()) >= 2 * kept[0].nbytes
    assert list(peak["cards"]) == ["npu:1", "npu:0"]
    assert cards.resolve("npu:0,1").more == (1,)
    torch.npu.set_device(0)  # type: ignore[attr-defined]
