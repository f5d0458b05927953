"""Figures of decoding: greedy tokens, cached and uncached, and against the reference's."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from env.language import Message, _
from verify.reference.figures import (
    Bound,
    Count,
    Figures,
    NoiseFigures,
    Positive,
    ReferenceFigures,
    ScoresFigures,
    Size,
)


class GenerateFigures(Figures, frozen=True, kw_only=True):
    """Of `generate`: one greedy decoding, and each step's logits against those of an uncached pass."""

    prompt_tokens: Count
    new_tokens: Count
    token_ids: list[Count]  # of the first row
    repeatable: bool
    greedy: bool = True  # every token is the largest of its logits
    cached_rel_l2: list[Size | None]  # by step
    cached_rel_l2_limit: Size


class ChoiceFigures(Figures, frozen=True, kw_only=True):
    """A token that is not the reference's: by how much the reference minds, and below which margin it is a tie."""

    taken: Count
    expected: Count
    margin: float
    tie_below: Size
    step: Count

    @property
    def tie(self) -> bool:
        return self.margin <= self.tie_below


class FreeRunFigures(Figures, frozen=True, kw_only=True):
    """A row that was decoded freely, up to the first token that differs."""

    same: Count
    first_difference: ChoiceFigures | None
    rel_l2: Annotated[list[Size | None], Meta(min_length=1)]  # of the scores, by step
    departs_at: Count | None  # the first step whose scores are out of bound
    passed: bool

    def problems(self, bound: float) -> list[Message]:
        """What is wrong with the row, where the scores' `rel_l2` is to be below `bound`."""
        problems = []
        first, step = self.first_difference, self.departs_at
        if first is not None and not first.tie:
            problems.append(
                _(
                    "token {step} is {taken}, the reference prefers {expected} by {margin:.2g} "
                    "(a tie below {tie_below:.2g})",
                    step=first.step,
                    taken=first.taken,
                    expected=first.expected,
                    margin=first.margin,
                    tie_below=first.tie_below,
                )
            )
        if step is not None:
            error = self.rel_l2[step]
            problems.append(
                _("the scores of token {step} hold NaN or infinity", step=step)
                if error is None
                else _(
                    "the scores of token {step} are off by {error:.1e}, expected below {bound:.1e}",
                    step=step,
                    error=error,
                    bound=bound,
                )
            )
        return problems


class ForcedRunFigures(Figures, frozen=True, kw_only=True):
    """A row whose every step had the reference's prefix."""

    same: Count
    ties: Count
    wrong: list[ChoiceFigures]

    def problems(self) -> list[Message]:
        """The first wrong choice."""
        return [
            _(
                "forced to the reference's tokens it takes {taken} for {expected} at {step}, "
                "against a margin of {margin:.2g}",
                taken=choice.taken,
                expected=choice.expected,
                step=choice.step,
                margin=choice.margin,
            )
            for choice in self.wrong[:1]
        ]


class TokensFigures(Figures, frozen=True, kw_only=True):
    """Of `tokens`, row by row of the batch."""

    tokens: Positive  # decoded in each row
    reference: ReferenceFigures
    expected: Bound  # of the scores
    noise: NoiseFigures | UnsetType = UNSET  # of the scores of ideal devices; 0.1.0 did not write it
    free: Annotated[list[FreeRunFigures], Meta(min_length=1)]
    forced: Annotated[list[ForcedRunFigures], Meta(min_length=1)]
    forced_scores: ScoresFigures
