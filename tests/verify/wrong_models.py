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


def _first_head(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[..., :size] = 0
        return tensor

    return change


def _tanh_gelu(layer: str) -> Plant:
    return _replaced(layer, lambda old: torch.nn.GELU(approximate="tanh"))


def _replaced(layer: str, make: Callable[[torch.nn.Module], torch.nn.Module]) -> Plant:
    def plant(model: Any) -> None:
        owner, _, name = layer.rpartition(".")
        setattr(model.get_submodule(owner), name, make(model.get_submodule(layer)))

    return plant


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


ATTENTION = "language_model.model.layers.1.self_attn"
CONV = "encoder.layers.2.conv"
QFORMER = "projector.qformer.encoder.layer.0"

# In float32 every one of these must be caught and named.
WRONG = [
    *(
        Wrong(f"a weight's {bit} bit flipped", f"{CONV}.up_conv", _weight(f"{CONV}.up_conv.weight", flip(bit)))
        for bit in ("sign", "exponent", "mantissa")
    ),
    Wrong("a layer x1.01", "encoder.layers.1.ff1.up_proj", _output("encoder.layers.1.ff1.up_proj", lambda x: x * 1.01)),
    Wrong("a layer x1.001", "encoder.layers.1.ff2", _output("encoder.layers.1.ff2", lambda x: x * 1.001)),
    Wrong(
        "a block x1.01", "language_model.model.layers.2", _output("language_model.model.layers.2", lambda x: x * 1.01)
    ),
    Wrong("a layer zeroed", f"{ATTENTION}.v_proj", _output(f"{ATTENTION}.v_proj", torch.zeros_like)),
    Wrong("a head zeroed", ATTENTION, _input(f"{ATTENTION}.o_proj", _first_head(32))),
    Wrong("an encoder head zeroed", "encoder.layers.1.attn", _input("encoder.layers.1.attn.to_out", _first_head(32))),
    Wrong(
        "tanh GELU for erf",
        f"{QFORMER}.intermediate_query.intermediate_act_fn",
        _tanh_gelu(f"{QFORMER}.intermediate_query.intermediate_act_fn"),
    ),
    Wrong(
        "ReLU for SiLU",
        "language_model.model.layers.0.mlp.act_fn",
        _replaced("language_model.model.layers.0.mlp.act_fn", lambda old: torch.nn.ReLU()),
    ),
    Wrong(
        "another epsilon in LayerNorm",
        "encoder.layers.0.post_norm",
        _attribute("encoder.layers.0.post_norm", "eps", lambda eps: 10 * eps),
    ),
    Wrong(
        "another epsilon in RMSNorm",
        "language_model.model.norm",
        _attribute("language_model.model.norm", "variance_epsilon", lambda eps: 10 * eps),
    ),
    Wrong(
        "another epsilon in BatchNorm",
        f"{CONV}.batch_norm",
        _attribute(f"{CONV}.batch_norm", "eps", lambda eps: 10 * eps),
    ),
    Wrong(
        "BatchNorm in training mode",
        f"{CONV}.batch_norm",
        lambda model: model.get_submodule(f"{CONV}.batch_norm").train(),
    ),
    Wrong("positions one late", "language_model.model.rotary_emb", _positions),
    Wrong("audio spliced one late", "", _splice_late),
    Wrong("softmax scale x1.05", ATTENTION, _attribute(ATTENTION, "scaling", lambda scale: 1.05 * scale)),
    Wrong(
        "encoder softmax scale x1.05",
        "encoder.layers.3.attn",
        _attribute("encoder.layers.3.attn", "scale", lambda scale: 1.05 * scale),
    ),
    Wrong(
        "residual multiplier ignored",
        "language_model.model.layers.1",
        _attribute("language_model.model.layers.1", "residual_multiplier", lambda _: 1.0),
    ),
    Wrong("GLU halves swapped", f"{CONV}.glu", _replaced(f"{CONV}.glu", lambda old: _Swapped())),
    Wrong(
        "convolution shifted by a frame",
        f"{CONV}.depth_conv",
        _attribute(f"{CONV}.depth_conv", "padding", lambda p: (p[0] - 1, p[1] + 1)),
    ),
    Wrong("CTC feedback left out", "encoder", _output("encoder.out_mid", torch.zeros_like)),
    Wrong(
        "one wrong element",
        "encoder.layers.0.conv.down_conv",
        _output("encoder.layers.0.conv.down_conv", flip("mantissa")),
    ),
    Wrong(
        "NaN in one element",
        "encoder.layers.3.ff1.silu",
        _output("encoder.layers.3.ff1.silu", lambda x: torch.where(x == x.max(), torch.nan, x)),
    ),
    Wrong(
        "rounded to bfloat16 on the way",
        "encoder.layers.1.conv.up_conv",
        _output("encoder.layers.1.conv.up_conv", lambda x: x.to(torch.bfloat16).to(x.dtype)),
    ),
]


class _Swapped(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = x.chunk(2, dim=1)
        swapped: torch.Tensor = value * torch.sigmoid(gate)
        return swapped
