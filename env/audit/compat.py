"""compat.toml, typed: which versions pair, and on what evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from env.chips import ChipKind, find_chip, load_chips
from env.toml import load_toml
from env.versions import in_series, parse

COMPAT = Path(__file__).with_name("compat.toml")


@dataclass(frozen=True)
class Release:
    """A torch-npu release. `pythons` is empty where no table lists them."""

    torch_npu: str
    torch: str
    pythons: tuple[str, ...]
    published: bool
    source: str


@dataclass(frozen=True)
class Pair:
    """torch-npu with CANN: a release (8.5.1), or a series (9.0)."""

    torch_npu: str
    cann: str
    confidence: str
    source: str


@dataclass(frozen=True)
class DriverPair:
    """CANN with the driver releases, or series, that it names."""

    cann: str
    hdk: tuple[str, ...]
    confidence: str
    source: str

    def lists(self, driver: str) -> bool:
        return any(in_series(driver, named) for named in self.hdk)


@dataclass(frozen=True)
class Need:
    """A distribution that CANN's Python parts need, since a CANN release; `python` limits the interpreters."""

    since: str
    name: str
    version: str
    source: str
    python: str = ""


@dataclass(frozen=True)
class Space:
    """What building an environment writes, in GiB."""

    profile: str
    machine: str
    gib: float
    source: str


@dataclass(frozen=True)
class Compat:
    """All of compat.toml, and the chips."""

    releases: tuple[Release, ...]
    pairs: tuple[Pair, ...]
    drivers: tuple[DriverPair, ...]
    chips: tuple[ChipKind, ...]
    needs: tuple[Need, ...]
    spaces: tuple[Space, ...]

    def environment_bytes(self, profile: str, machine: str) -> int | None:
        row = next((row for row in self.spaces if row.profile == profile and row.machine == machine), None)
        return None if row is None else int(row.gib * (1 << 30))

    def release(self, torch_npu: str) -> Release | None:
        """The row of a torch-npu release; `torch_npu` is a public version."""
        return next((row for row in self.releases if row.torch_npu == torch_npu), None)

    def canns(self, torch_npu: str) -> tuple[Pair, ...]:
        return tuple(row for row in self.pairs if row.torch_npu == torch_npu)

    def driver_row(self, cann: str) -> DriverPair | None:
        """What is known of the drivers of a CANN release: its own row only."""
        return next((row for row in self.drivers if parse(row.cann) == parse(cann)), None)

    def series_row(self, cann: str) -> DriverPair | None:
        """The best evidence within the series of a CANN release (8.5.1 -> 8.5.0's release note)."""
        series = parse(cann).release(2)
        rows = [row for row in self.drivers if parse(row.cann).release(2) == series]
        return next((row for row in rows if row.confidence == "high"), None)

    def chip(self, name: str | None, pci: str | None, board_memory: bool | None = None) -> ChipKind | None:
        """The family of a chip: see `find_chip`."""
        return find_chip(self.chips, name, pci, board_memory)


T = TypeVar("T")


@cache
def load_compat() -> Compat:
    """The table. It is ours: a fault in it is a bug, and raises as one."""
    data = load_toml(COMPAT)
    sources: dict[str, str] = data["sources"]

    def rows(table: str, kind: Callable[..., T]) -> tuple[T, ...]:
        return tuple(_row(kind, each | {"source": sources[each["source"]]}) for each in data[table])

    return Compat(
        releases=rows("release", Release),
        pairs=rows("pair", Pair),
        drivers=rows("driver", DriverPair),
        chips=load_chips(),
        needs=rows("cann-python", Need),
        spaces=rows("environment", Space),
    )


def _row(kind: Callable[..., T], row: Mapping[str, Any]) -> T:
    """A row as its dataclass. By hand: setup reads this table before there is an environment that has msgspec."""
    fields = {name.replace("-", "_"): tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return kind(**fields)
