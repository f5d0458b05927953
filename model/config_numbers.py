"""The numbers of config.json that are no sizes: factors, rates and small terms, each a finite number.

The library takes whatever stands there and fails in the middle of a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from env.language import Message, _

# Fields and their defaults' type of GraniteConfig, Blip2QFormerConfig, GraniteSpeechEncoderConfig and
# GraniteSpeechConfig (transformers 4.57.6, configuration_granite.py, _blip_2.py, _granite_speech.py).
ABOVE_ZERO = ("rope_theta", "logits_scaling")  # divided by
NUMBERS: Mapping[str, tuple[str, ...]] = {
    "": ("initializer_range",),
    "text_config": (
        "rms_norm_eps",
        "rope_theta",
        "attention_multiplier",
        "embedding_multiplier",
        "residual_multiplier",
        "logits_scaling",
        "attention_dropout",
        "initializer_range",
    ),
    "encoder_config": ("dropout",),
    "projector_config": (
        "layer_norm_eps",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "initializer_range",
    ),
}


def problems(config: Mapping[str, Any]) -> Iterator[Message]:
    """Every field that is no number that its place can hold; one that is left out is the library's own."""
    for section, names in NUMBERS.items():
        part = config.get(section) if section else config
        for name in names if isinstance(part, Mapping) else ():
            value = part.get(name)
            if value is not None and not _is_number(value, above_zero=name in ABOVE_ZERO):
                field = f"{section}.{name}".removeprefix(".")
                yield _("config.json: {name} is {value}, a number expected", name=field, value=repr(value)[:40])


def _is_number(value: object, *, above_zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return value > 0 if above_zero else value >= 0
