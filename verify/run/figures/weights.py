"""Figures of the checkpoint: as it lies in its folder, as it is loaded, and as the device holds it."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from env.language import Message
from verify.reference.figures import Count, Figures, Positive, Size


class SumsFigures(Figures, frozen=True, kw_only=True):
    """Who says that the weights are the right ones: SHA256SUMS, the seed that they were made from, or nobody."""

    status: Literal["match", "made-here", "none", "differ"]


class ArchitectureFigures(Figures, frozen=True, kw_only=True):
    """The sizes of config.json, by part."""

    encoder: dict[str, bool | int | float]
    projector: dict[str, bool | int | float]
    text: dict[str, bool | int | float]


class CheckpointFigures(Figures, frozen=True, kw_only=True):
    """Of `checkpoint`: what the folder holds. Nothing is loaded for it."""

    path: str
    name: str = ""
    kind: Literal["checkpoint", "stand-in"]
    parameters: Count
    components: dict[str, Count] = field(default_factory=dict)  # parameters of each
    tensors: Count
    tensors_by_dtype: dict[str, Count] = field(default_factory=dict)
    bytes: Count
    dtype: str
    shards: list[str] = field(default_factory=list)
    audio_token: int | None = None
    architecture: ArchitectureFigures
    sha256: str  # of the weights
    sums: SumsFigures | None = None


class LoadFigures(Figures, frozen=True, kw_only=True):
    """Of `load`: what the library's own loader made."""

    seconds: Size
    parameters: Count
    dtype: str
    attention: str
    class_name: str = field(name="class")
    adapted: list[Message] = field(default_factory=list)  # what computes otherwise than in the library


class TensorFigures(Figures, frozen=True, kw_only=True):
    """A tensor that the device holds otherwise than the files: what became of it, and how many values differ."""

    name: str
    what: Message
    values: Count


class WeightsFigures(Figures, frozen=True, kw_only=True):
    """Of `weights`: what was brought back from the device, against the files. The list is cut, the count is whole."""

    tensors: Positive
    values: Positive
    differing: list[TensorFigures]
    differing_count: Count
    not_in_checkpoint: list[str]
