"""Figures of the model's components: what each gives, again and against a reference."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from env.language import Message, _
from verify.reference.figures import Count, Figures, Positive, Several, Share, Size


class ShapeFigures(Figures, frozen=True, kw_only=True):
    """What a component gives on the run's inputs, and what the config implies."""

    shape: list[Count]
    expected: list[Count]
    finite: bool

    def problem(self, component: str) -> str:
        """What is wrong with it; "" where nothing is."""
        if self.shape != self.expected:
            return _("{component} is {shape}", component=component, shape=str(self.shape))
        return "" if self.finite else _("{component} holds NaN or infinity", component=component)


class ShapesFigures(Figures, frozen=True, kw_only=True):
    """Of `shapes`. `overflow`: whether an operator did, of a chip that gives the largest number instead of infinity."""

    components: Annotated[dict[str, ShapeFigures], Meta(min_length=1)]
    overflow: bool | None = None


class SpliceFigures(Figures, frozen=True, kw_only=True):
    """Of `splice`: positions of the prompt, and how far the embeddings there are from what belongs there."""

    audio_tokens: Count  # in the prompt
    projector_outputs: Count = 0
    positions_replaced: Count  # that hold the projector's output, bit for bit
    max_abs_text: Size | None
    max_abs_audio: Size | None


class RepeatFigures(Figures, frozen=True, kw_only=True):
    """A component's runs against its first one; `rel_l2` is the worst, None where a run is not finite."""

    identical: bool
    finite: bool = True
    rel_l2: Size | None
    recipe_passed: bool | None = None


class DeterminismFigures(Figures, frozen=True, kw_only=True):
    """Of `determinism`."""

    runs: Several
    recipe_limit: Size = 0.01  # on rel_l2, the public recipe's
    components: Annotated[dict[str, RepeatFigures], Meta(min_length=1)]


class AgreementFigures(Figures, frozen=True, kw_only=True):
    """A component's output against the reference's, as ComparisonFigures, and the limits that it is held to."""

    finite: bool = True
    identical: bool = False
    rel_l2: Size | None
    max_abs: Size | None
    mean_abs: Size | None = None
    cosine: float | None
    worst_element: Size | None = None
    top1: Share | None
    top1_regret: Size | None = None
    noise: Size | None = None  # rel_l2 of ideal devices, that the limits are made of
    limits: Annotated[dict[str, float], Meta(min_length=1)]  # by measure
    limit_source: Annotated[Message, Meta(extra_json_schema={"minLength": 1})]
    problems: list[Message] = field(default_factory=list)
    passed: bool

    def __post_init__(self) -> None:
        if not self.limit_source:
            raise ValueError("a limit has a source")


class ParityReference(Figures, frozen=True, kw_only=True):
    """What the components are compared with."""

    device: str
    dtype: str
    threads: Positive | UnsetType = UNSET  # CPU threads that it computed with; an earlier version did not write it
    omp_num_threads: str | UnsetType = UNSET  # OMP_NUM_THREADS, where it says another number


class ParityFigures(Figures, frozen=True, kw_only=True):
    """Of `parity`."""

    reference: ParityReference
    components: Annotated[dict[str, AgreementFigures], Meta(min_length=1)]
