"""compat.toml, typed: which versions pair, and on what evidence."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from env.versions import in_series, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
class ChipKind:
    """A family of chips: the beginning of its name in npu-smi, its operator folder, its PCI id."""

    name: str
    kernels: str
    pci: str | None
    idle_mb: int | None  # the most that an idle chip of it was seen to use
    unknown_to: tuple[str, ...]  # torch-npu releases that do not know it
    nodes: tuple[str, ...]  # the nodes that it needs beside its own, where they are not the usual ones
    source: str


@dataclass(frozen=True)
class Need:
    """A distribution that CANN's Python parts need, since a CANN release; `python` limits the interpreters."""

    since: str
    name: str
    version: str
    python: str
    source: str


@dataclass(frozen=True)
class Space:
    """What building an environment writes, in GiB."""

    profile: str
    machine: str
    gib: float
    source: str


@dataclass(frozen=True)
class Compat:
    """All of compat.toml."""

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

    def chip(self, name: str | None, pci: str | None) -> ChipKind | None:
        """The family of a chip: by its PCI id where that is known, else by the longest beginning of its name."""
        by_pci = next((row for row in self.chips if row.pci is not None and row.pci == pci), None)
        # Some tools write Ascend910B4 for 910B4; Ascend910 alone is the name of A3.
        plain = name.removeprefix("Ascend") if name and name != "Ascend910" else name
        named = [row for row in self.chips if plain and plain.startswith(row.name)]
        return by_pci or max(named, key=lambda row: len(row.name), default=None)


@cache
def load_compat() -> Compat:
    """The table. It is ours: a fault in it is a bug, and raises as one."""
    data: dict[str, Any] = tomllib.loads(COMPAT.read_text(encoding="utf-8"))
    sources: dict[str, str] = data["sources"]
    return Compat(
        releases=tuple(
            Release(row["torch-npu"], row["torch"], tuple(row["python"]), row["published"], sources[row["source"]])
            for row in data["release"]
        ),
        pairs=tuple(
            Pair(row["torch-npu"], row["cann"], row["confidence"], sources[row["source"]]) for row in data["pair"]
        ),
        drivers=tuple(
            DriverPair(row["cann"], tuple(row["hdk"]), row["confidence"], sources[row["source"]])
            for row in data["driver"]
        ),
        chips=tuple(
            ChipKind(
                row["name"],
                row["kernels"],
                row.get("pci"),
                row.get("idle-mb"),
                tuple(row.get("unknown-to", ())),
                tuple(row.get("nodes", ())),
                sources[row["source"]],
            )
            for row in data["chip"]
        ),
        needs=tuple(
            Need(row["since"], row["name"], row["version"], row.get("python", ""), sources[row["source"]])
            for row in data["cann-python"]
        ),
        spaces=tuple(
            Space(row["profile"], row["machine"], row["gib"], sources[row["source"]]) for row in data["environment"]
        ),
    )
