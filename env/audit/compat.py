"""compat.toml, typed: which versions pair, and on what evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from packaging.version import Version

from env.audit.verdict import Evidence, Verdict, decide, names, over_series
from env.chips import ChipKind, find_chip, load_chips
from env.toml import load_toml
from env.versions import is_series, parse

COMPAT = Path(__file__).with_name("compat.toml")


@dataclass(frozen=True)
class Release:
    """A torch-npu package. `line` and `pythons` are empty where no table names them."""

    torch_npu: str
    line: str  # the TorchNPU release that it belongs to: 26.0.0
    torch: str
    pythons: tuple[str, ...]
    published: bool
    confidence: str
    source: str
    date: str
    cpu_build: bool = True  # its x86_64 wheel requires torch's +cpu build


@dataclass(frozen=True)
class Pair:
    """A torch-npu package with the CANN that it was released with: a release (8.5.1), or a series (9.1.X)."""

    torch_npu: str
    cann: str
    confidence: str
    source: str
    date: str


@dataclass(frozen=True)
class MatrixRow:
    """TorchNPU releases or series with all the CANN that they work with, and those that the vendor refuses."""

    line: tuple[str, ...]
    cann: tuple[str, ...]
    no: tuple[str, ...]
    confidence: str
    source: str
    date: str


@dataclass(frozen=True)
class DriverPair:
    """A CANN release or series with the drivers (HDK) that it works with, and those that the vendor refuses."""

    cann: str
    hdk: tuple[str, ...]
    no: tuple[str, ...]
    confidence: str
    source: str
    date: str


@dataclass(frozen=True)
class ChipSince:
    """The first TorchNPU release that knows a family of chips."""

    chip: str
    line: str
    confidence: str
    source: str
    date: str


@dataclass(frozen=True)
class TransformersRange:
    """Releases of transformers, both ends included, whose logits of this model are right or not."""

    since: str
    until: str
    right: bool
    confidence: str
    source: str
    date: str


@dataclass(frozen=True)
class Need:
    """A distribution that CANN's Python parts need, since a CANN release and until before another.

    `python` limits the interpreters.
    """

    since: str
    name: str
    version: str
    confidence: str
    source: str
    date: str
    python: str = ""
    until: str = ""


@dataclass(frozen=True)
class Space:
    """What building an environment writes, in GiB."""

    profile: str
    machine: str
    gib: float
    source: str
    date: str


@dataclass(frozen=True)
class Compat:
    """All of compat.toml, and the chips."""

    releases: tuple[Release, ...]
    pairs: tuple[Pair, ...]
    matrix: tuple[MatrixRow, ...]
    drivers: tuple[DriverPair, ...]
    chips: tuple[ChipKind, ...]
    chip_since: tuple[ChipSince, ...]
    transformers: tuple[TransformersRange, ...]
    needs: tuple[Need, ...]
    spaces: tuple[Space, ...]

    def environment_bytes(self, profile: str, machine: str) -> int | None:
        row = next((row for row in self.spaces if row.profile == profile and row.machine == machine), None)
        return None if row is None else int(row.gib * (1 << 30))

    def release(self, torch_npu: str) -> Release | None:
        """The row of a torch-npu package; `torch_npu` is a public version."""
        return next((row for row in self.releases if row.torch_npu == torch_npu), None)

    def canns(self, torch_npu: str) -> tuple[Pair, ...]:
        """The CANN that a torch-npu package was released with."""
        return tuple(row for row in self.pairs if row.torch_npu == torch_npu)

    @cached_property
    def cann_releases(self) -> tuple[str, ...]:
        """Every CANN release that a row names, newest first."""
        named = {row.cann for row in self.pairs} | {row.cann for row in self.drivers}
        named |= {cann for row in self.matrix for cann in row.cann}
        return tuple(sorted((each for each in named if not is_series(each)), key=parse, reverse=True))

    @cached_property
    def hdk_releases(self) -> tuple[str, ...]:
        """Every driver release that a row names, newest first."""
        named = {hdk for row in self.drivers for hdk in (*row.hdk, *row.no) if not is_series(hdk)}
        return tuple(sorted(named, key=parse, reverse=True))

    def cann_evidence(self, torch_npu: str) -> list[Evidence]:
        """What pairs a torch-npu package with CANN: its own rows, then those of its TorchNPU release."""
        release = self.release(torch_npu)
        rows = [Evidence((row.cann,), (), row.confidence, _dated(row)) for row in self.canns(torch_npu)]
        line = release.line if release else ""
        return rows + [
            Evidence(row.cann, row.no, row.confidence, _dated(row))
            for row in self.matrix
            if line and any(names(entry, line) for entry in row.line)
        ]

    def cann_verdict(self, torch_npu: str, cann: str) -> Verdict:
        """Whether a torch-npu package pairs with a CANN release, or with all of a series."""
        rows = self.cann_evidence(torch_npu)
        return over_series(cann, self.cann_releases, lambda release: decide(release, rows))

    def driver_evidence(self, cann: str) -> list[Evidence]:
        """What pairs a CANN release with drivers."""
        return [Evidence(row.hdk, row.no, row.confidence, _dated(row)) for row in self.drivers if names(row.cann, cann)]

    def driver_verdict(self, driver: str, cann: str) -> Verdict:
        """Whether a driver pairs with a CANN release, or with all of a series."""
        return over_series(cann, self.cann_releases, lambda release: decide(driver, self.driver_evidence(release)))

    def transformers_row(self, version: str) -> TransformersRange | None:
        """What is known of a release of transformers."""
        try:
            release = Version(version)
            return next(row for row in self.transformers if Version(row.since) <= release <= Version(row.until))
        except (ValueError, StopIteration):
            return None

    def chip(self, name: str | None, pci: str | None, board_memory: bool | None = None) -> ChipKind | None:
        """The family of a chip: see `find_chip`."""
        return find_chip(self.chips, name, pci, board_memory)


Row = Release | Pair | MatrixRow | DriverPair | ChipSince | TransformersRange | Need  # what bears evidence


def cited(row: Row) -> str:
    """A row's source as a finding names it, with its date and confidence."""
    return f"{_dated(row)} [{row.confidence}]"


def _dated(row: Row) -> str:
    return f"{row.source}, {row.date}"


T = TypeVar("T")


@cache
def load_compat() -> Compat:
    """The table. It is ours: a fault in it is a bug, and raises as one."""
    data = load_toml(COMPAT)
    sources: dict[str, dict[str, str]] = data["sources"]

    def rows(table: str, kind: Callable[..., T]) -> tuple[T, ...]:
        sourced = ((each, sources[each["source"]]) for each in data[table])
        return tuple(_row(kind, each | {"source": source["text"], "date": source["date"]}) for each, source in sourced)

    return Compat(
        releases=rows("release", Release),
        pairs=rows("pair", Pair),
        matrix=rows("matrix", MatrixRow),
        drivers=rows("driver", DriverPair),
        chips=load_chips(),
        chip_since=rows("chip-since", ChipSince),
        transformers=rows("transformers", TransformersRange),
        needs=rows("cann-python", Need),
        spaces=rows("environment", Space),
    )


def _row(kind: Callable[..., T], row: Mapping[str, Any]) -> T:
    """A row as its dataclass. By hand: setup reads this table before there is an environment that has msgspec."""
    fields = {name.replace("-", "_"): tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return kind(**fields)
