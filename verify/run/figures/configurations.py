"""Figures of configurations: one row for each length, batch, prompt, cache, attention and dtype that is tried."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from env.language import Message, _, as_message
from verify.reference.figures import Figures, Size


class Row(Figures, frozen=True, kw_only=True):
    """One configuration and what came of it. Without a limit it is measured and reported, and never wrong."""

    group: Message
    name: Message
    against: Message
    measure: str  # "rel_l2", or "regret" as numerics has it
    value: Size | None  # None where there is none: NaN, another shape, other tokens
    limit: Size | None
    passed: bool | None  # None where there is no limit

    @classmethod
    def of(cls, group: str, name: str, against: str, measure: str, value: float | None, limit: float | None) -> Row:
        """The row, judged by its limit."""
        return cls(
            group=as_message(group),
            name=as_message(name),
            against=as_message(against),
            measure=measure,
            value=value,
            limit=limit,
            passed=None if limit is None else _within(value, limit),
        )

    @property
    def within(self) -> bool:
        """Whether the value is within the limit; without one whatever came of it is."""
        return self.limit is None or _within(self.value, self.limit)

    @property
    def summary(self) -> Message:
        """What came of it, in two digits."""
        about: dict[str, Any] = {"group": self.group, "name": self.name, "measure": self.measure}
        if self.limit is None:
            if self.value is None:
                return _("{group}, {name}: {measure} is no number", **about)
            return _("{group}, {name}: {measure} {value:.2g}", **about, value=self.value)
        about |= {"limit": self.limit}
        if self.value is None:
            return _("{group}, {name}: {measure} is no number, at most {limit:.2g} allowed", **about)
        return _("{group}, {name}: {measure} {value:.2g}, at most {limit:.2g} allowed", **about, value=self.value)


def _within(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


class ConfigurationsFigures(Figures, frozen=True, kw_only=True):
    """Of `configurations`, with the noise of ideal devices that the limits are made of; 0.1.0 did not write it."""

    rows: Annotated[list[Row], Meta(min_length=1)]
    noise: dict[str, Size] | UnsetType = UNSET  # by dtype, of the logits of a whole pass, rel_l2
    scores_noise: Size | UnsetType = UNSET  # of the decoding step with the most
    own_dtype: str | UnsetType = UNSET  # of the run's own checkpoint, where it was tried as well
    own_noise: Size | UnsetType = UNSET
