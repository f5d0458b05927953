"""The reference run: once for its values, once a token, and for every dtype the passes of its ideal devices."""

from __future__ import annotations

import torch

from model.checkpoint import Checkpoint
from model.components import Inputs
from model.generation import choosable
from model.hooks import Hooks, Point
from model.reference import Reference
from verify.reference.noise import IdealDevices
from verify.reference.values import Description, Expected, Key


def make(checkpoint: Checkpoint, inputs: Inputs, description: Description) -> Expected:
    """Run the reference as `description` has it.

    Weights are read as each layer needs them, so it takes the memory of the largest one and of the values.
    """
    reference = Reference(checkpoint, description.dtype, description.gelu)
    points: dict[Key, Point] = {}
    values: dict[Key, torch.Tensor] = {}

    def keep(point: Point, tensor: torch.Tensor) -> None:
        points[point.key] = point
        values[point.key] = tensor.detach().clone()

    with Hooks(reference.model, keep, deep=description.deep):
        reference.forward(inputs.features, inputs.input_ids)
    tokens, scores = _greedy(reference, inputs, description.tokens)
    devices = IdealDevices(reference, inputs, description.deep, values, tokens, scores)
    noise = {dtype: devices.noise(Reference(checkpoint, dtype, description.gelu)) for dtype in description.dtypes}
    return Expected(description, points, values, tokens, scores, noise)


def _greedy(reference: Reference, inputs: Inputs, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` greedy tokens a row and their scores, without a cache: the audio once, then a pass over all ids a token.

    What the device never takes (generation.choosable) is not taken here.
    """
    audio = reference.project(reference.encode(inputs.features))
    ids = inputs.input_ids
    scores = []
    for _ in range(count):
        last = choosable(reference.model, reference.language_model(reference.splice(ids, audio))[:, -1])
        scores.append(last)
        ids = torch.cat([ids, last.argmax(dim=-1, keepdim=True)], dim=1)
    return ids[:, inputs.positions :].clone(), torch.stack(scores, dim=1)
