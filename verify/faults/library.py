"""Faults of the library itself: a release that computes another model than config.json declares, on every device alike.

Each is named after the equation that it breaks (verify/reference/definition). They are of the kind that releases have
had: a division left out (transformers 5.10.1 to 5.24.0), a default that ties the head, a position off by one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch

Change = Callable[[Any], None]  # of an instance that was just built


def _built(kind: type, change: Change) -> None:
    """Let `change` be done to every instance of a class, as if its own code were so."""
    build: Any = vars(kind)["__init__"]

    @wraps(build)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        change(self)

    kind.__init__ = init  # type: ignore[misc]


def _called(kind: Any, method: str, around: Callable[..., Any]) -> None:
    """Let `around(right, self, *args, **kwargs)` take the place of a method."""
    right = getattr(kind, method)

    @wraps(right)
    def wrong(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(right, self, *args, **kwargs)

    setattr(kind, method, wrong)


def _epsilons(part: Any, kind: type[Any], epsilon: float) -> None:
    for module in part.modules():
        if isinstance(module, kind):
            module.eps = epsilon


def _unscaled(model: Any) -> None:
    model.config = copy.copy(model.config)
    model.config.logits_scaling = 1.0


def _logits_scaling(granite: Any, speech: Any, blip: Any) -> None:
    _built(granite.GraniteForCausalLM, _unscaled)


def _tie_word_embeddings(granite: Any, speech: Any, blip: Any) -> None:
    def tied(right: Any, self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
        right(self, config, *args, **kwargs)

    _called(speech.GraniteSpeechForConditionalGeneration, "__init__", tied)


def _embedding_multiplier(granite: Any, speech: Any, blip: Any) -> None:
    _built(granite.GraniteModel, lambda model: setattr(model, "embedding_multiplier", 1.0))


def _residual_multiplier(granite: Any, speech: Any, blip: Any) -> None:
    _built(granite.GraniteDecoderLayer, lambda layer: setattr(layer, "residual_multiplier", 1.0))


def _attention_multiplier(granite: Any, speech: Any, blip: Any) -> None:
    _built(granite.GraniteAttention, lambda layer: setattr(layer, "scaling", layer.head_dim**-0.5))


def _rope_theta(granite: Any, speech: Any, blip: Any) -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    right = ROPE_INIT_FUNCTIONS["default"]

    def other_base(*args: Any, **kwargs: Any) -> Any:
        frequencies, scaling = right(*args, **kwargs)
        return frequencies ** (math.log(5e5) / math.log(1e4)), scaling

    ROPE_INIT_FUNCTIONS["default"] = other_base


def _positions(granite: Any, speech: Any, blip: Any) -> None:
    """Every second one, where the caller says none."""

    def strided(right: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        embeddings = kwargs.get("inputs_embeds")
        if kwargs.get("position_ids") is None and embeddings is not None:
            kwargs["position_ids"] = 2 * torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        return right(self, *args, **kwargs)

    _called(granite.GraniteModel, "forward", strided)


def _cache(granite: Any, speech: Any, blip: Any) -> None:
    """A cached step takes the position after its own."""

    def late(right: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        positions = kwargs.get("position_ids")
        if positions is not None and positions.shape[-1] == 1:
            kwargs["position_ids"] = positions + 1
        return right(self, *args, **kwargs)

    _called(granite.GraniteModel, "forward", late)


def _padding(granite: Any, speech: Any, blip: Any) -> None:
    """The mask is not handed on, as in 4.49.0 (issue 36293)."""

    def unmasked(right: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        return right(self, *args, **{**kwargs, "attention_mask": None})

    _called(granite.GraniteModel, "forward", unmasked)


def _beams(granite: Any, speech: Any, blip: Any) -> None:
    """The cache stays in the order of before, whichever beams go on."""
    from transformers.cache_utils import Cache

    _called(Cache, "reorder_cache", lambda right, self, beam_idx: None)


def _rms_norm_eps(granite: Any, speech: Any, blip: Any) -> None:
    _built(granite.GraniteRMSNorm, lambda norm: setattr(norm, "variance_epsilon", 1e-6))


def _mlp(granite: Any, speech: Any, blip: Any) -> None:
    def swapped(right: Any, self: Any, x: Any) -> Any:
        return self.down_proj(self.act_fn(self.up_proj(x)) * self.gate_proj(x))

    _called(granite.GraniteMLP, "forward", swapped)


def _splice(granite: Any, speech: Any, blip: Any) -> None:
    def rolled(right: Any, self: Any, input_ids: Any, audio_features: Any, *args: Any, **kwargs: Any) -> Any:
        return right(self, input_ids, audio_features.roll(1, dims=1), *args, **kwargs)

    _called(speech.GraniteSpeechForConditionalGeneration, "get_merged_audio_embeddings", rolled)


def _context_size(granite: Any, speech: Any, blip: Any) -> None:
    def halved(right: Any, self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        config = copy.copy(config)
        config.context_size //= 2
        right(self, config, *args, **kwargs)

    _called(speech.GraniteSpeechCTCEncoder, "__init__", halved)


def _relative_positions(granite: Any, speech: Any, blip: Any) -> None:
    def mirrored(right: Any, self: Any, hidden_states: Any, attention_dists: Any) -> Any:
        return right(self, hidden_states, attention_dists.T)

    _called(speech.GraniteSpeechConformerAttention, "forward", mirrored)


def _conv_kernel_size(granite: Any, speech: Any, blip: Any) -> None:
    def causal(layer: Any) -> None:
        layer.padding = (sum(layer.padding), 0)

    _built(speech.GraniteSpeechConformerDepthWiseConv1d, causal)


def _batch_norm(granite: Any, speech: Any, blip: Any) -> None:
    _built(speech.GraniteSpeechConformerConvModule, lambda part: _epsilons(part, torch.nn.BatchNorm1d, 1e-3))


def _encoder_norm(granite: Any, speech: Any, blip: Any) -> None:
    _built(speech.GraniteSpeechConformerBlock, lambda part: _epsilons(part, torch.nn.LayerNorm, 1e-3))


def _half_steps(granite: Any, speech: Any, blip: Any) -> None:
    def whole_steps(right: Any, self: Any, hidden_states: Any, attention_dists: Any) -> Any:
        hidden_states = self.ff1(hidden_states) + hidden_states
        hidden_states = self.attn(hidden_states, attention_dists=attention_dists) + hidden_states
        hidden_states = self.conv(hidden_states) + hidden_states
        return self.post_norm(self.ff2(hidden_states) + hidden_states)

    _called(speech.GraniteSpeechConformerBlock, "forward", whole_steps)


def _ctc_feedback(granite: Any, speech: Any, blip: Any) -> None:
    """After the layer that follows the middle."""
    _built(speech.GraniteSpeechCTCEncoder, lambda encoder: setattr(encoder, "num_layers", encoder.num_layers + 2))


def _window_size(granite: Any, speech: Any, blip: Any) -> None:
    """The last window's padding comes first."""

    def padded_before(right: Any, self: Any, hidden_states: Any) -> Any:
        lacking = -hidden_states.shape[1] % self.window_size
        return right(self, torch.nn.functional.pad(hidden_states, (0, 0, lacking, 0)))

    _called(speech.GraniteSpeechEncoderProjector, "forward", padded_before)


def _layer_norm_eps(granite: Any, speech: Any, blip: Any) -> None:
    _built(blip.Blip2QFormerModel, lambda part: _epsilons(part, torch.nn.LayerNorm, 1e-5))


def _gelu(granite: Any, speech: Any, blip: Any) -> None:
    tanh = torch.nn.GELU(approximate="tanh")
    _built(blip.Blip2QFormerIntermediate, lambda part: setattr(part, "intermediate_act_fn", tanh))


FAULTS: Mapping[str, Callable[[Any, Any, Any], None]] = {
    "logits_scaling": _logits_scaling,
    "tie_word_embeddings": _tie_word_embeddings,
    "embedding_multiplier": _embedding_multiplier,
    "residual_multiplier": _residual_multiplier,
    "attention_multiplier": _attention_multiplier,
    "rope_theta": _rope_theta,
    "positions": _positions,
    "cache": _cache,
    "padding": _padding,
    "beams": _beams,
    "rms_norm_eps": _rms_norm_eps,
    "mlp": _mlp,
    "splice": _splice,
    "context_size": _context_size,
    "relative positions": _relative_positions,
    "conv_kernel_size": _conv_kernel_size,
    "batch norm": _batch_norm,
    "layer norm of the encoder": _encoder_norm,
    "half steps": _half_steps,
    "ctc feedback": _ctc_feedback,
    "window_size": _window_size,
    "layer_norm_eps": _layer_norm_eps,
    "gelu of the projector": _gelu,
}


def plant(name: str) -> None:
    """Make the library of this process wrong, for models that are built from now on."""
    from transformers.models.blip_2 import modeling_blip_2
    from transformers.models.granite import modeling_granite
    from transformers.models.granite_speech import modeling_granite_speech

    FAULTS[name](modeling_granite, modeling_granite_speech, modeling_blip_2)
