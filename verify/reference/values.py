"""What every layer gives on the run's inputs, computed once on the CPU in a wider dtype.

An NPU machine need not run the reference: `python -m verify.reference` makes the file anywhere, and `--reference FILE`
brings it (file.py). Beside the values stands how far ideal devices of each dtype are from them (noise.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from env.language import Message
from model import device
from model.checkpoint import Checkpoint
from model.components import DTYPES, Inputs
from model.size import FULL_SIZE

if TYPE_CHECKING:
    import torch

    from model.hooks import Point
    from verify.reference.words import Words

SCHEMA = 4  # 1: noise of one rounding a layer; 2: none of components; 3: of components, from another input
TOKENS, TOKENS_FULL = 16, 4  # a full-size model's file also holds whole parts of layers only
MODES = ("isolated", "end_to_end")

Key = tuple[str, str, int, int]  # as hooks.Point has it
Noise = tuple[float, float]  # numerics.relative_l2 and numerics.worst_element of ideal devices

LOGITS_POINT: Key = ("", "out of", 0, 0)  # what the model itself gives in its one pass
ENCODED: Key = ("encoder", "out of", 0, 0)
SPLICED: Key = ("language_model.model", "into", 0, 0)


@dataclass(frozen=True)
class Description:
    """What reference values are made of, and how."""

    schema: int
    weights_sha256: str
    config_sha256: str
    inputs_sha256: str
    transformers: str
    dtype: str  # of the reference
    dtypes: tuple[str, ...]  # whose ideal devices' noise is measured
    deep: bool  # every layer, not only parts of repeated ones
    tokens: int
    versions: Mapping[str, str]
    gelu: str = "erf"  # or "tanh", of a device that has no other


@dataclass(frozen=True)
class DtypeNoise:
    """The noise of one dtype's ideal devices."""

    points: Mapping[str, Mapping[Key, Noise]]  # by mode
    scores: Noise  # of the decoding step with the most
    components: Mapping[str, Noise]  # each fed the reference's own input; "end_to_end": the logits of a whole pass


@dataclass(frozen=True)
class Expected:
    """The reference's values at every point of a forward pass in order, its greedy tokens, and ideal devices' noise."""

    description: Description
    points: Mapping[Key, Point]
    values: Mapping[Key, torch.Tensor]
    tokens: torch.Tensor  # [B, n], as generation.generate decodes
    scores: torch.Tensor  # [B, n, vocab], what each was chosen from
    noise_of: Mapping[str, DtypeNoise]  # by dtype
    sha256: str = ""  # of the file that it came from
    unkept: Message | None = None  # why there is no such file, where they were made here
    words: Words | None = None  # what it says to the bundled clips, where the file has that too

    @property
    def deep(self) -> bool:
        return self.description.deep

    @property
    def noise(self) -> Mapping[str, Mapping[str, Mapping[Key, Noise]]]:
        """Of every point, by dtype and mode."""
        return {dtype: noise.points for dtype, noise in self.noise_of.items()}

    @property
    def scores_noise(self) -> Mapping[str, Noise]:
        """By dtype, of the scores at the step with the most."""
        return {dtype: noise.scores for dtype, noise in self.noise_of.items()}


def describe(
    checkpoint: Checkpoint,
    weights_sha256: str,
    inputs: Inputs,
    dtype: str,
    *,
    gelu: str = "erf",
    any_dtype: bool = False,
) -> Description:
    """What a file for runs in `dtype` is made of, and how; `any_dtype`: of a small checkpoint, for runs in any;
    `gelu`: the form that the device computes.

    The reference is float64 where that costs little, and where float32 is verified: a run must not be its own
    reference.
    """
    small = checkpoint.parameters < FULL_SIZE
    config = json.dumps(checkpoint.config, sort_keys=True).encode()
    digest = hashlib.sha256()
    for tensor in (inputs.features.float(), inputs.input_ids):
        digest.update(f"{tensor.dtype} {list(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())
    versions = device.versions()
    return Description(
        schema=SCHEMA,
        weights_sha256=weights_sha256,
        config_sha256=hashlib.sha256(config).hexdigest(),
        inputs_sha256=digest.hexdigest(),
        transformers=versions["transformers"],
        dtype="float64" if small or dtype == "float32" else "float32",
        dtypes=tuple(DTYPES) if small and any_dtype else (dtype,),
        deep=small,
        tokens=TOKENS if small else TOKENS_FULL,
        versions=versions,
        gelu=gelu,
    )
