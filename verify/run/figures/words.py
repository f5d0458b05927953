"""Figures of texts held against the reference's own on a CPU, where no scores of the weights are known."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from env.language import Message, _
from verify.reference.figures import Bound, Count, Figures, Name, Positive, ReferenceFigures, Size
from verify.run.figures.tokens import ChoiceFigures, ForcedRunFigures


class WordsRow(Figures, frozen=True, kw_only=True):
    """One clip: the device's text beside the reference's, and their tokens."""

    clip: Name
    language: Name
    text: str
    cpu: str
    tokens: Positive  # of the reference
    ended: bool  # the reference ended it
    same: Count  # tokens of the device's own text, up to the first that differs
    first_difference: ChoiceFigures | None
    forced: ForcedRunFigures  # along the reference's tokens
    rel_l2: Annotated[list[Size | None], Meta(min_length=1)]  # of the scores along them, by step

    @property
    def followed(self) -> bool:
        """Whether the device took every token of the reference by itself."""
        return self.first_difference is None and self.same == self.tokens

    @property
    def explained(self) -> bool:
        """Whether its text is the reference's as far as arithmetic decides it."""
        first = self.first_difference
        return self.followed if first is None else first.tie

    def problems(self, bound: float) -> list[Message]:
        """What is wrong with the clip, where the scores' `rel_l2` is to be below `bound`."""
        first = self.first_difference
        problems: list[Message] = []
        if first is not None and not first.tie:
            problems.append(
                _(
                    "token {step} is {taken}, the reference prefers {expected} by {margin:.2g} "
                    "(a tie below {tie_below:.2g}): {text} instead of {cpu}",
                    step=first.step,
                    taken=first.taken,
                    expected=first.expected,
                    margin=first.margin,
                    tie_below=first.tie_below,
                    text=repr(self.text),
                    cpu=repr(self.cpu),
                )
            )
        elif first is None and not self.followed:
            problems.append(_("{same} tokens, the reference has {tokens}", same=self.same, tokens=self.tokens))
        problems += self.forced.problems()
        for step, error in enumerate(self.rel_l2):
            if error is None:
                return [*problems, _("the scores of token {step} hold NaN or infinity", step=step)]
            if error > bound:
                text = _(
                    "the scores of token {step} are off by {error:.1e}, expected below {bound:.1e}",
                    step=step,
                    error=error,
                    bound=bound,
                )
                return [*problems, text]
        return problems


class DistanceFigures(Figures, frozen=True, kw_only=True):
    """How far the device's texts are from the reference's, percent: what a word error rate is, of the CPU's words."""

    words: Size | None  # None where the reference has none
    characters: Size | None
    word_counts: dict[str, Count]
    character_counts: dict[str, Count]
    signature: Name


class WordsFigures(Figures, frozen=True, kw_only=True):
    """Of the clips that the reference transcribed, one a language."""

    reference: ReferenceFigures
    noise: Bound  # of ideal devices: what `expected` follows from
    expected: Bound  # of the scores
    rows: Annotated[list[WordsRow], Meta(min_length=1)]
    distance: DistanceFigures
