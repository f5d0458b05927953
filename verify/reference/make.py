"""The reference run: once for its values, once a token, and for every dtype the passes of its ideal devices."""

from __future__ import annotations

from collections.abc import Callable

import torch

from model.checkpoint import Checkpoint
from model.components import Inputs
from model.generation import choosable
from model.hooks import Hooks, Point
from model.reference import Reference
from model.threads import of_reference
from verify.reference.noise import DEVICES, IdealDevices
from verify.reference.progress import Progress
from verify.reference.values import Description, Expected, Key


def make(checkpoint: Checkpoint, inputs: Inputs, description: Description) -> Expected:
    """Run the reference as `description` has it.

    Weights are read as each layer needs them, so it takes the memory of the largest one and of the values.
    """
    progress = Progress(passes(description))
    if not description.deep:
        count = of_reference(checkpoint.parameters) or torch.get_num_threads()
        progress.begin(checkpoint.name, checkpoint.parameters, description.dtype, count)
    reference = Reference(checkpoint, description.dtype, description.gelu)
    points: dict[Key, Point] = {}
    values: dict[Key, torch.Tensor] = {}

    def keep(point: Point, tensor: torch.Tensor) -> None:
        points[point.key] = point
        values[point.key] = tensor.detach().clone()

    with Hooks(reference.model, keep, deep=description.deep):
        reference.forward(inputs.features, inputs.input_ids)
    progress()
    tokens, scores = _greedy(reference, inputs, description.tokens, progress)
    devices = IdealDevices(reference, inputs, description.deep, values, tokens, scores, progress)
    noise = {dtype: devices.noise(Reference(checkpoint, dtype, description.gelu)) for dtype in description.dtypes}
    return Expected(description, points, values, tokens, scores, noise)


def passes(description: Description) -> int:
    """How often the model is run: for its values, for every token, and for the ideal devices of every dtype."""
    return 1 + description.tokens + len(description.dtypes) * (1 + DEVICES)


def _greedy(
    reference: Reference, inputs: Inputs, count: int, progress: Callable[[], None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` greedy tokens a row and their scores, without a cache: the audio once, then a pass over all ids a token.

    What the device never takes (generation.choosable) is not taken here.
    """
    audio = reference.project(reference.encode(inputs.features))
    ids = inputs.input_ids
    scores = []
    for _ in range(count):
        last = choosable(reference.model, reference.language_model(reference.splice(ids, audio))[:, -1])
        scores.append(last)
        progress()
        ids = torch.cat([ids, last.argmax(dim=-1, keepdim=True)], dim=1)
    return ids[:, inputs.positions :].clone(), torch.stack(scores, dim=1)
