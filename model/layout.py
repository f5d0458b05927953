"""Where the parts of the model are in the module tree of the library that is installed.

    up to transformers 5.9.0    encoder, projector, language_model (with its head) at the top
    from 5.10.1 on              encoder, projector, language_model (without) inside `model`, lm_head at the top

(modeling_granite_speech.py of 4.57.6, 5.9.0, 5.10.1 and 5.24.0.) A checkpoint's tensors have the older names in both:
the newer library renames as it loads (conversion_mapping.py, "granite_speech"). So do points and messages here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BODY, HEAD = "model", "lm_head"
STORED = ((f"{BODY}.language_model", "language_model.model"), (HEAD, f"language_model.{HEAD}"))
PARTS = ("encoder", "projector", "language_model")


def is_nested(model: Any) -> bool:
    """Whether it is the newer layout."""
    return all(hasattr(getattr(model, BODY, None), part) for part in PARTS)


def base(model: Any) -> Any:
    """The module that holds `encoder`, `projector` and `language_model`."""
    return getattr(model, BODY) if is_nested(model) else model


def decoder(model: Any) -> Any:
    """The Granite model without its head: `embed_tokens`, `layers`, `norm`, `rotary_emb`."""
    language_model = base(model).language_model
    return language_model if is_nested(model) else language_model.model


def head(model: Any) -> Any:
    """The linear layer from hidden states [..., hidden] to the vocabulary."""
    return model.get_output_embeddings()


def stored_name(model: Any, name: str) -> str:
    """The name of a module, parameter or buffer as a checkpoint has it."""
    if not is_nested(model):
        return name
    for there, stored in STORED:
        if name == there or name.startswith(f"{there}."):
            return stored + name.removeprefix(there)
    return name.removeprefix(f"{BODY}.")


def named_modules(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """As the model's own, by the names that a checkpoint has."""
    for name, module in model.named_modules():
        if name != BODY or not is_nested(model):
            yield stored_name(model, name), module
