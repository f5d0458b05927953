"""What is held against each other: each component against a wider reference, and cached decoding against none."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from model import components, gelu, generation
from model.components import Inputs, Loaded
from model.device import runtime_errors
from model.generation import Generated
from model.reference import Reference
from verify.reference import numerics
from verify.reference.numerics import Comparison, as_array

# A run must not be its own reference, so the reference is one step wider than what is verified.
WIDER = {"bfloat16": "float32", "float16": "float32", "float32": "float64"}
NEW_TOKENS = 16


def of_components(loaded: Loaded, inputs: Inputs) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Each component's name, its output on the device, and the reference's for the same input.

    The input is the reference's own, rounded to the device's dtype on both sides, so that a component that is wrong
    does not blame its successors; "end_to_end" is the library's forward pass against the reference's chain.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    model, dtype = loaded.model, loaded.torch_dtype
    reference = Reference(loaded.checkpoint, WIDER[loaded.dtype], gelu.of(loaded.device).form)

    def there(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(loaded.device.torch_device)

    with runtime_errors(loaded.device, "comparing with the reference"), torch.inference_mode():
        features = inputs.features.to(dtype)
        encoded = reference.encode(features)
        yield "encoder", components.encode(model, there(features)), encoded
        rounded = encoded.to(dtype)
        yield "ctc_head", components.ctc_head(model, there(rounded)), reference.ctc_head(rounded)
        yield "projector", components.project(model, there(rounded)), reference.project(rounded)
        audio = reference.project(encoded)
        merged = reference.splice(inputs.input_ids, audio)
        spliced = components.splice(model, there(inputs.input_ids), there(audio.to(dtype)))
        yield "splice", spliced, reference.splice(inputs.input_ids, audio.to(dtype))
        rounded = merged.to(dtype)
        yield "language_model", components.language_model(model, there(rounded)), reference.language_model(rounded)
        logits = components.forward(model, there(features), there(inputs.input_ids))
        yield "end_to_end", logits, reference.language_model(merged)


def of_decoding(loaded: Loaded, inputs: Inputs, decoded: Generated) -> list[Comparison]:
    """The logits of every cached step of `decoded` against those of one uncached pass over the same tokens.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    assert decoded.logits is not None
    cached = as_array(decoded.logits)
    uncached = as_array(generation.uncached_logits(loaded, inputs, decoded.tokens))
    return [numerics.compare(cached[:, step], uncached[:, step]) for step in range(cached.shape[1])]
