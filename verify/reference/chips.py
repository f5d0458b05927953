"""Times that a chip is known to take, as data that users contribute: chips/<chip>.toml.

A reference is per chip, component, dtype, batch and length, with asymmetric bounds as ReFrame has them: (value, lower,
upper). Where there is none, nothing is compared, and that is no pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from env.errors import BundleError
from env.language import Message, _
from env.toml import load_toml
from verify.reference.figures import Figures, Name, Positive, Size

FOLDER = Path(__file__).with_name("chips")
LOWER, UPPER = -0.20, 0.10  # of a row that is proposed from a run


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One time of one chip, in milliseconds."""

    component: Name
    dtype: Name
    batch: Positive
    seq_len: Positive
    value: Annotated[float, Meta(gt=0)]
    lower: Annotated[float, Meta(ge=-1, le=0)]  # as a share of the value
    upper: Annotated[float, Meta(ge=0)]
    source: Name
    reported: bool = False  # by others: no records of it are known
    run_sha256: str | None = None  # of the record that it was taken from
    n: int | None = None  # runs or samples behind the value
    versions: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.reported and not self.run_sha256:
            raise ValueError("a row that was measured names its record's sha256")

    def beyond(self, value: float) -> bool:
        """Whether a time is outside the row's bounds; what is no number is."""
        return not self.value * (1 + self.lower) <= value <= self.value * (1 + self.upper)


class Chip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chip's file. `names` are what the device may call itself."""

    schema: Literal[1]
    chip: Name
    names: Annotated[list[Name], Meta(min_length=1)]
    rows: list[Row]


class ReferenceTime(Figures, frozen=True, kw_only=True):
    """A time of this run beside its chip's reference."""

    chip: str
    component: str
    measured_ms: Size
    value_ms: Size
    lower: float
    upper: float
    beyond: bool
    reported: bool
    source: str

    @property
    def sentence(self) -> Message:
        """`encoder 44.1 ms (45, -20% / +10%)`."""
        return _(
            "{component} {measured:.1f} ms ({value:.4g}, {lower:+.0%} / {upper:+.0%})",
            component=self.component,
            measured=self.measured_ms,
            value=self.value_ms,
            lower=self.lower,
            upper=self.upper,
        )


def sentence(rows: Sequence[ReferenceTime]) -> Message:
    """`910B4: encoder 44.1 ms (45, -20% / +10%)`, of the rows of one chip."""
    return _("{chip}: {times}", chip=rows[0].chip, times=[row.sentence for row in rows])


@cache
def chips(folder: Path = FOLDER) -> tuple[Chip, ...]:
    """Every chip's file.

    Raises:
        BundleError: one is not as it should be; it ships with the bundle.
    """
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            found.append(msgspec.convert(load_toml(path), Chip))
        except ValueError as error:
            raise BundleError(_("{file}: {problem}", file=path.name, problem=str(error))) from error
    return tuple(found)


def of(device_name: str, folder: Path = FOLDER) -> Chip | None:
    """The references of a device by its name; None where there are none."""
    return next((chip for chip in chips(folder) if device_name in chip.names), None)


def held(chip: Chip, times: Mapping[str, float], *, dtype: str, batch: int, seq_len: int) -> Iterator[ReferenceTime]:
    """The times, in milliseconds by component, for which the chip has a row of these conditions."""
    for row in chip.rows:
        same = (row.dtype, row.batch, row.seq_len) == (dtype, batch, seq_len)
        if same and row.component in times and math.isfinite(times[row.component]):
            yield ReferenceTime(
                chip=chip.chip,
                component=row.component,
                measured_ms=times[row.component],
                value_ms=row.value,
                lower=row.lower,
                upper=row.upper,
                beyond=row.beyond(times[row.component]),
                reported=row.reported,
                source=row.source,
            )
