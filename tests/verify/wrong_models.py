"""Ways in which a model on a device can be wrong, planted in a loaded one: what the checks must catch and name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Plant = Callable[[Any], None]


@dataclass(frozen=True)
class Wrong:
    """One fault, and the layer that must be named for it."""

    name: str
    layer: str
    plant: Plant
    in_bfloat16: bool = True


def _output(layer: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    """Change what leaves a layer."""

    def hook(module: torch.nn.Module, args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return lambda model: model.get_submodule(layer).register_forward_hook(hook)


def _input(layer: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    """Change what enters a layer, as wrong code before it would."""

    def hook(module: torch.nn.Module, args: Any) -> Any:
        return (change(args[0]), *args[1:])

    return lambda model: model.get_submodule(layer).register_forward_pre_hook(hook)


def _attribute(layer: str, name: str, change: Callable[[Any], Any]) -> Plant:
    def plant(model: Any) -> None:
        module = model.get_submodule(layer)
        setattr(module, name, change(getattr(module, name)))

    return plant


def _weight(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    def plant(model: Any) -> None:
        state = model.state_dict()
        state[name].copy_(change(state[name].clone()))

    return plant


def flip(bit: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Flip one bit of the largest value: "sign", "exponent", "mantissa" (its top bit) or "last" (its lowest)."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        integer, mantissa = {
            torch.float32: (torch.int32, 23),
            torch.bfloat16: (torch.int16, 7),
            torch.float16: (torch.int16, 10),
        }[tensor.dtype]
        place = {"sign": torch.iinfo(integer).bits - 1, "exponent": mantissa, "mantissa": mantissa - 1, "last": 0}[bit]
        bits = tensor.view(-1).view(integer)
        index = int(tensor.view(-1).abs().argmax())
        mask = 1 << place
        bits[index] ^= mask - (1 << torch.iinfo(integer).bits) if bit == "sign" else mask
        return tensor

    return change


def _first(count: int, value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(tensor[..., :count], value), tensor[..., count:]], dim=-1)

    return change


def _replaced(layer: str, by: torch.nn.Module) -> Plant:
    def plant(model: Any) -> None:
        owner, _, name = layer.rpartition(".")
        setattr(model.get_submodule(owner), name, by)

    return plant


class Swapped(torch.nn.Module):
    """A GLU that takes its halves for each other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = x.chunk(2, dim=1)
        swapped: torch.Tensor = value * torch.sigmoid(gate)
        return swapped


def _positions(model: Any) -> None:
    rotary = model.language_model.model.rotary_emb
    right = rotary.forward
    rotary.forward = lambda x, position_ids: right(x, position_ids + 1)


def _splice_late(model: Any) -> None:
    """Audio embeddings one position late, as a masked_scatter that is off by one."""
    right: Callable[..., torch.Tensor] = model.get_merged_audio_embeddings

    def wrong(input_ids: torch.Tensor, audio_features: torch.Tensor, input_features_mask: Any = None) -> torch.Tensor:
        return right(input_ids, audio_features.roll(1, dims=1), input_features_mask)

    model.get_merged_audio_embeddings = wrong


BLOCK, NORM = "language_model.model.layers.1", "language_model.model.norm"
ATTENTION, ENCODER_ATTENTION = f"{BLOCK}.self_attn", "encoder.layers.1.attn"
CONV = "encoder.layers.2.conv"
QFORMER = "projector.qformer.encoder.layer.0"

UP_CONV, GLU, BATCH_NORM = f"{CONV}.up_conv", f"{CONV}.glu", f"{CONV}.batch_norm"
GELU = f"{QFORMER}.intermediate_query.intermediate_act_fn"
UP_PROJ, FF2, POST_NORM = "encoder.layers.1.ff1.up_proj", "encoder.layers.1.ff2", "encoder.layers.0.post_norm"
HEAD = 32  # values of a head, in encoder and language model alike

# In float32 every one of these is caught and named; where `in_bfloat16`, also there.
WRONG = [
    Wrong("a weight's sign flipped", UP_CONV, _weight(f"{UP_CONV}.weight", flip("sign"))),
    Wrong("a weight's exponent bit flipped", UP_CONV, _weight(f"{UP_CONV}.weight", flip("exponent"))),
    Wrong("a weight's top mantissa bit flipped", UP_CONV, _weight(f"{UP_CONV}.weight", flip("mantissa"))),
    Wrong("a layer x1.01", UP_PROJ, _output(UP_PROJ, lambda x: x * 1.01)),
    Wrong("a layer x1.001", FF2, _output(FF2, lambda x: x * 1.001), in_bfloat16=False),
    Wrong("a block x1.01", BLOCK, _output(BLOCK, lambda x: x * 1.01)),
    Wrong("a layer zeroed", f"{ATTENTION}.v_proj", _output(f"{ATTENTION}.v_proj", torch.zeros_like)),
    Wrong("a head zeroed", ATTENTION, _input(f"{ATTENTION}.o_proj", _first(HEAD, 0.0))),
    Wrong("an encoder head zeroed", ENCODER_ATTENTION, _input(f"{ENCODER_ATTENTION}.to_out", _first(HEAD, 0.0))),
    Wrong("tanh GELU for erf", GELU, _replaced(GELU, torch.nn.GELU("tanh")), in_bfloat16=False),
    Wrong("ReLU for SiLU", f"{BLOCK}.mlp.act_fn", _replaced(f"{BLOCK}.mlp.act_fn", torch.nn.ReLU())),
    Wrong("LayerNorm's epsilon", POST_NORM, _attribute(POST_NORM, "eps", lambda eps: 10 * eps), in_bfloat16=False),
    Wrong("RMSNorm's epsilon", NORM, _attribute(NORM, "variance_epsilon", lambda eps: 10 * eps), in_bfloat16=False),
    Wrong("BatchNorm's epsilon", BATCH_NORM, _attribute(BATCH_NORM, "eps", lambda eps: 10 * eps), in_bfloat16=False),
    Wrong("BatchNorm in training mode", BATCH_NORM, lambda model: model.get_submodule(BATCH_NORM).train()),
    Wrong("positions one late", "language_model.model.rotary_emb", _positions),
    Wrong("audio spliced one late", "", _splice_late),
    Wrong("softmax scale x1.05", ATTENTION, _attribute(ATTENTION, "scaling", lambda scale: 1.05 * scale)),
    Wrong(
        "encoder softmax scale x1.05",
        ENCODER_ATTENTION,
        _attribute(ENCODER_ATTENTION, "scale", lambda scale: 1.05 * scale),
    ),
    Wrong("residual multiplier ignored", BLOCK, _attribute(BLOCK, "residual_multiplier", lambda _: 1.0)),
    Wrong("GLU halves swapped", GLU, _replaced(GLU, Swapped())),
    Wrong(
        "convolution one frame late",
        f"{CONV}.depth_conv",
        _attribute(f"{CONV}.depth_conv", "padding", lambda pad: (pad[0] - 1, pad[1] + 1)),
    ),
    Wrong("CTC feedback left out", "encoder.out_mid", _output("encoder.out_mid", torch.zeros_like)),
    Wrong("one element's sign", f"{CONV}.down_conv", _output(f"{CONV}.down_conv", flip("sign"))),
    Wrong("NaN in one element", UP_PROJ, _output(UP_PROJ, lambda x: torch.where(x == x.max(), torch.nan, x))),
    Wrong("rounded to bfloat16", UP_CONV, _output(UP_CONV, lambda x: x.bfloat16().to(x.dtype)), in_bfloat16=False),
]
