"""A model over several cards (`--device-map auto`): which card holds which layer, and hooks that carry tensors over.

Both are accelerate's: infer_auto_device_map says where a layer goes, dispatch_model puts it there and wraps every
`forward` with a hook that brings its arguments to its card. What no card has room for stays in the host's memory and
is brought to the first card for the time that it is needed there. Three things accelerate cannot know of this model:

- no class of it names the layers that must stay whole (transformers 4.57.6, modeling_granite_speech.py: neither
  `_no_split_modules` nor `_skip_keys_device_placement`). Residuals are added inside a layer, so those are the elements
  of its lists: GraniteSpeechConformerBlock, Blip2QFormerLayer, GraniteDecoderLayer;
- the encoder adds what `out` and `out_mid` make of its middle layer to that layer's output, outside any module: these
  three must be on one card;
- tensors that a split module holds itself (the Q-Former's queries, the encoder's distances) are in no module that is
  placed.

Tensors go by torch's name of a card, never by a bare number, which torch-npu does not take (Ascend/pytorch, issue 16).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from env.errors import OutOfMemoryError
from env.language import _
from model import layout

if TYPE_CHECKING:
    import torch

    from model.device import Device

HOST = "cpu"  # as accelerate calls the host's memory
BEYOND = "disk"  # as it calls what fits nowhere
KEPT_IN_PLACE = ("past_key_values",)  # the cache of a layer is where the layer is
SHARE = 0.9  # of what is free; accelerate leaves a tenth of a card, too (get_balanced_memory)
UNKNOWN = 1 << 62  # bytes, where a runtime does not tell

Places = Mapping[str, int | str]  # path of a module or parameter -> number of a card, or HOST


@dataclass(frozen=True)
class Rooms:
    """Bytes that weights may take, on each card in order and in the host's memory."""

    cards: Sequence[int]
    host: int = UNKNOWN


def whole_classes(model: torch.nn.Module) -> list[str]:
    """The classes whose modules must not be split: the elements of the model's lists of layers."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return sorted({type(layer).__name__ for layers in lists for layer in layers})


def plan(model: torch.nn.Module, rooms: Rooms) -> Places | None:
    """Where each part of a loaded model goes, the same share to each card; None where cards and host cannot hold it.

    Evenly if that goes, then as it fits, then with what is left over in the host's memory.
    """
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = whole_classes(model)
    cards: dict[int | str, int] = dict(enumerate(rooms.cards))
    even = get_balanced_memory(model, dict(cards), no_split_module_classes=whole)
    for limits in (even, cards, {**cards, HOST: rooms.host}):
        places = infer_auto_device_map(model, dict(limits), no_split_module_classes=whole)
        if BEYOND not in places.values():
            return _as_the_model_needs(model, places)
    return None


def _as_the_model_needs(model: torch.nn.Module, places: dict[str, int | str]) -> Places:
    """The places with what meets outside any module on one card: the token embeddings with the inputs, among which
    audio is spliced, and the CTC head and its way back with the encoder's middle layer.
    """
    paths = {id(module): name for name, module in model.named_modules()}
    if place_of(places, name := paths[id(model.get_input_embeddings())]) not in (0, HOST):  # type: ignore[operator]
        places |= {name: 0}
    encoder = layout.base(model).encoder
    name = paths[id(encoder)]
    middle = len(encoder.layers) // 2 - 1
    if middle >= 0 and name not in places:
        at = place_of(places, f"{name}.layers.{middle}")
        places |= {f"{name}.{head}": at for head in ("out", "out_mid")}
    return places


def place_of(places: Places, name: str) -> int | str:
    """Where a module or a tensor is: with the longest path that holds it; of a split module's own, the first place."""
    parts = name.split(".")
    paths = (".".join(parts[:length]) for length in range(len(parts), -1, -1))
    return next((places[path] for path in paths if path in places), next(iter(places.values())))


def dispatch(model: Any, device: Device, rooms: Rooms | None = None) -> dict[str, str]:
    """Split a model that is in the host's memory over the cards of a device; the place of every part by its name.

    Without `rooms` every card has room for all.

    Raises:
        OutOfMemoryError: cards and host together cannot hold it.
    """
    labels = [card.label for card in device.cards]
    places = plan(model, rooms or Rooms([UNKNOWN] * len(labels)))
    if places is None:
        raise OutOfMemoryError(
            _("{cards} and the host's memory together cannot hold the model", cards=", ".join(labels)),
            next=_("a smaller --batch-size or --seq-len, or more cards"),
        )
    return put(model, places, labels)


def put(model: Any, places: Places, cards: Sequence[str]) -> dict[str, str]:
    """Put each part of a model where `places` says, on one of `cards` by its number; the place of every part by its
    name. Inputs go to the first card.
    """
    from accelerate import dispatch_model
    from accelerate.utils import set_module_tensor_to_device

    named = {name: place if isinstance(place, str) else cards[place] for name, place in places.items()}
    dispatch_model(model, dict(named), main_device=cards[0], skip_keys=list(KEPT_IN_PLACE))
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        at = str(place_of(named, name))
        if tensor.device.type == HOST and at != HOST:
            set_module_tensor_to_device(model, name, at)
    return {layout.stored_name(model, name): place for name, place in named.items()}


def places_used(named: Mapping[str, str], first: str) -> list[str]:
    """Every place once: the first card, the others in their order, the host last."""
    used = dict.fromkeys(named.values())
    others = sorted(used.keys() - {first, HOST}, key=lambda card: int(card.partition(":")[2]))
    return [first, *others, *([HOST] if HOST in used else [])]


def short(named: Mapping[str, str]) -> dict[str, str]:
    """The same map in fewer lines: neighbours of a list of layers on one card are one, "layers.0-19"."""
    rows: list[tuple[str, int, int, str]] = []
    lines: dict[str, str] = {}

    def flush() -> None:
        for path, first, last, place in rows:
            lines[f"{path}.{first}" if first == last else f"{path}.{first}-{last}"] = place
        rows.clear()

    for name, place in named.items():
        match = re.fullmatch(r"(.+)\.(\d+)", name)
        if match is None:
            flush()
            lines[name] = place
        elif rows and rows[-1][0] == match[1] and rows[-1][2] + 1 == int(match[2]) and rows[-1][3] == place:
            rows[-1] = (*rows[-1][:2], int(match[2]), place)
        else:
            rows.append((match[1], int(match[2]), int(match[2]), place))
    flush()
    return lines


def state_dict(model: Any) -> dict[str, torch.Tensor]:
    """The model's own, with what lies in the host's memory in place of the empty tensors that stand for it."""
    from accelerate.utils.modeling import get_state_dict_offloaded_model

    state: dict[str, torch.Tensor] = model.state_dict()
    if all(tensor.device.type != "meta" for tensor in state.values()):
        return state
    return dict(get_state_dict_offloaded_model(model))
