"""Rotary angles without a matrix product, for chips that compute one in float16 whatever is asked.

transformers makes the angles as a product of frequencies [d/2, 1] and positions [1, n] in float32
(GraniteRotaryEmbedding, transformers 4.57.6). With factors of 11 bits an angle is off by 2^-12 of itself: by half a
radian at position 2000. The same numbers multiplied one by one go through the vector unit, which computes float32.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def multiply_one_by_one(model: torch.nn.Module) -> bool:
    """Let every rotary embedding of a model do so. False where it has none that can.

    Only those of the plain kind: the angles of others depend on how long the sequence is.
    """
    plain = [module for module in model.modules() if getattr(module, "rope_type", None) == "default"]
    for module in plain:
        module.forward = partial(_angles, module)
    return bool(plain)


def _angles(module: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine [B, n, d] of positions [B, n], in the dtype of `x`; computed in float32."""
    import torch

    with torch.no_grad():
        frequencies = module.inv_freq.float().to(x.device)
        angles = position_ids[:, :, None].float() * frequencies
        both = torch.cat((angles, angles), dim=-1)
        cosine, sine = both.cos() * module.attention_scaling, both.sin() * module.attention_scaling
    return cosine.to(x.dtype), sine.to(x.dtype)
