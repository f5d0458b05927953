"""Which card gets which part of a model, what must be together, and what is said where cards do not hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights

from env.device_name import DeviceName, require_cards
from env.errors import OutOfMemoryError, UsageError
from model import cards, device_map, layout, memory, stand_in
from model.cards import Cards
from model.checkpoint import read_architecture
from model.device import Device
from model.device_map import Rooms

GIB = memory.GIB


@pytest.fixture(scope="module")
def full() -> Any:
    """The published model's modules without storage."""
    from transformers import GraniteSpeechConfig, GraniteSpeechForConditionalGeneration

    config = json.loads(stand_in.config_file("synthetic:full").read_text())
    with init_empty_weights():
        return GraniteSpeechForConditionalGeneration(GraniteSpeechConfig(**config)).to(torch.bfloat16)


def test_layers_that_add_to_their_input_stay_whole(full: Any) -> None:
    assert device_map.whole_classes(full) == [
        "Blip2QFormerLayer",
        "GraniteDecoderLayer",
        "GraniteSpeechConformerBlock",
    ]


ROOMS: Mapping[str, tuple[list[float], float, set[int | str] | None]] = {
    "large cards share evenly": ([60.0, 60.0], 99.0, {0, 1}),
    "eight cards": ([60.0] * 8, 99.0, set(range(8))),
    "neither holds it": ([3.0, 3.0], 99.0, {0, 1}),
    "one has little room": ([1.0, 8.0], 99.0, {0, 1}),
    "one has none": ([0.0, 8.0], 99.0, {0, 1}),
    "the host has the rest": ([2.5], 99.0, {0, "cpu"}),
    "two and the host": ([1.0, 1.0], 99.0, {0, 1, "cpu"}),
    "nowhere": ([1.0, 1.0], 0.5, None),
}


@pytest.mark.parametrize("case", ROOMS)
def test_every_part_has_a_place_that_has_room_for_it(full: Any, case: str) -> None:
    room, host, used = ROOMS[case]
    places = device_map.plan(full, Rooms([int(one * GIB) for one in room], int(host * GIB)))
    if used is None:
        assert places is None
        return
    assert places is not None
    taken: dict[int | str, int] = {}
    for name, tensor in full.state_dict().items():
        at = device_map.place_of(places, name)
        taken[at] = taken.get(at, 0) + tensor.nbytes
    limits: dict[int | str, float] = dict(enumerate(room))
    limits["cpu"] = host
    if case != "one has none":  # inputs, and so the token embeddings, go to the first card all the same
        assert set(taken) == used
        assert all(size <= limits[at] * GIB for at, size in taken.items())
    if case == "large cards share evenly":
        assert max(taken.values()) < 1.5 * min(taken.values())  # accelerate keeps room for a layer on the first


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("first", [3.7, 3.9, 4.1, 4.3, 4.5])
def test_what_meets_outside_any_module_is_on_one_card(full: Any, first: float, host: bool) -> None:
    """Wherever the border lies in the encoder."""
    rooms = [first] if host else [first, 60.0]
    limits = dict(enumerate(int(one * GIB) for one in rooms))
    places = device_map.plan(full, Rooms(list(limits.values()), 99 * GIB))
    assert places is not None
    middle = len(full.encoder.layers) // 2 - 1
    together = (f"encoder.layers.{middle}", "encoder.out", "encoder.out_mid")
    assert len({device_map.place_of(places, name) for name in together}) == 1
    assert device_map.place_of(places, "language_model.model.embed_tokens") == 0


def test_a_border_in_the_encoder_was_tried(full: Any) -> None:
    places = device_map.plan(full, Rooms([int(3.9 * GIB)], 99 * GIB))
    assert places is not None
    assert {device_map.place_of(places, f"encoder.layers.{layer}") for layer in range(16)} == {0, "cpu"}
    assert layout.base(full).encoder.num_layers == 16


def test_a_map_is_written_in_few_lines() -> None:
    named = {"lm.embed": "npu:0", **{f"lm.layers.{i}": f"npu:{int(i > 2)}" for i in range(6)}, "encoder": "cpu"}
    assert device_map.short(named) == {
        "lm.embed": "npu:0",
        "lm.layers.0-2": "npu:0",
        "lm.layers.3-5": "npu:1",
        "encoder": "cpu",
    }
    assert device_map.places_used(named, "npu:0") == ["npu:0", "npu:1", "cpu"]


@pytest.mark.parametrize(
    ("asked", "place", "covered"),
    [
        ("npu:0", "npu:0+npu:1", True),
        ("npu", "npu:0+cpu", True),
        ("auto", "npu:0+npu:1", True),
        ("npu:1", "npu:0+npu:1", False),
        ("npu:1", "npu:1+npu:0", True),
        ("npu:1,3", "npu:1+npu:3", True),
        ("npu:1,3", "npu:1+npu:2", False),
        ("npu:all", "npu:0+npu:7", True),
        ("npu:all", "cuda:0+cuda:1", False),
        ("npu:0", "elsewhere", False),
        ("npu:0", "cpu", False),
    ],
)
def test_a_place_is_what_was_asked_for(asked: str, place: str, covered: bool) -> None:
    assert DeviceName.parse(asked).covers(place) is covered


@pytest.mark.parametrize("asked", ["cpu", "cpu:0"])
def test_a_cpu_is_no_card(asked: str) -> None:
    with pytest.raises(UsageError, match=f"--device-map splits a model over cards, and --device {asked} is none"):
        require_cards(asked)


def card_memory(monkeypatch: pytest.MonkeyPatch, free: list[float]) -> None:
    sizes = [int(one * GIB) for one in free]
    monkeypatch.setattr(memory, "available", lambda device: sizes[device.index])
    monkeypatch.setattr(Device, "total_memory_bytes", 32 * GIB)
    monkeypatch.setattr(
        cards, "visible", lambda first: [Device(first.kind, index, first.asked) for index in range(len(free))]
    )


@pytest.mark.parametrize(
    ("free", "advice"),
    [
        ([3.5, 3.5], "--device-map auto splits it over the 2 visible cards, which have room for 4.9"),
        ([1.0, 1.0], "the 2 visible cards together have room for 0.4"),
        ([3.0], "--device-map auto keeps in the host's memory what the card cannot hold"),
    ],
)
def test_a_refusal_says_whether_the_cards_together_would_hold_the_model(
    monkeypatch: pytest.MonkeyPatch, free: list[float], advice: str
) -> None:
    card_memory(monkeypatch, free)
    _config, architecture = read_architecture(stand_in.config_file("synthetic:full"))
    with pytest.raises(OutOfMemoryError) as caught:
        memory.require(Device("npu", 0, "npu:0"), architecture, "bfloat16", 1, 1500)
    assert advice in str(caught.value.next)


@pytest.mark.parametrize(
    ("free", "error", "words"),
    [
        ([3.0, 3.0], None, ""),
        ([3.0], None, ""),
        ([60.0], UsageError, "npu:0 is the only card here and holds the model: there is nothing to split"),
        ([0.01, 0.01], OutOfMemoryError, "^0.00 GiB on npu:0, npu:1 and "),
    ],
)
def test_cards_that_can_hold_it_only_together(
    monkeypatch: pytest.MonkeyPatch, free: list[float], error: type[Exception] | None, words: str
) -> None:
    card_memory(monkeypatch, free)
    _config, architecture = read_architecture(stand_in.config_file("synthetic:full"))
    several = Cards("npu", 0, "npu:0", tuple(range(1, len(free))))
    if error is None:
        rooms = memory.require_together(several, architecture, "bfloat16", 1, 1500)
        assert len(rooms.cards) == len(free)
        assert all(0 < room < one * GIB for room, one in zip(rooms.cards, free, strict=True))
    else:
        with pytest.raises(error, match=words):
            memory.require_together(several, architecture, "bfloat16", 1, 1500)


def test_the_bundled_checkpoint_may_lie_on_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card_memory(monkeypatch, [60.0])
    _config, architecture = read_architecture(stand_in.config_file("synthetic:tiny"))
    assert memory.require_together(Cards("npu", 0, "npu:0"), architecture, "float32", 1, 32, must_split=False).cards
