"""What is read of an npu-smi output: one schema for every kind of answer."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from enum import Enum


class Kind(Enum):
    """What a text turned out to be: the table of `npu-smi info`, the answer to one of its options, or no answer."""

    TABLE = "table"
    LIST = "list"  # info -l
    MAP = "map"  # info -m
    TOPOLOGY = "topo"  # info -t topo, and so on
    BOARD = "board"
    USAGES = "usages"
    COMMON = "common"
    MEMORY = "memory"
    ECC = "ecc"
    POWER = "power"
    TEMPERATURE = "temp"
    HEALTH = "health"
    PROCESSES = "proc-mem"
    PRODUCT = "product"
    OTHER = "other"  # labels of a chip, of a topic that is none of these
    FAILURE = "failure"
    NEITHER = "neither"

    @property
    def exit_code(self) -> int:
        """The exit code of `python -m env npu-smi`."""
        return {Kind.FAILURE: 3, Kind.NEITHER: 4}.get(self, 0)


@dataclass(frozen=True)
class Chip:
    """One die, as the answer shows it. None where that says NA or "-", or leaves the field out.

    `npu` and `chip` are None only where an answer to a topic names none; boards without a chip column (950) have
    chip 0. `phy` is the Phy-ID column of cards with two dies (A3). `hbm_*` is HBM-Usage where the table has that
    column, otherwise Memory-Usage (310 class boards); `ddr_*` is Memory-Usage beside HBM-Usage. `npu_pct` is NPU
    Util(%), which boards of the 950 line show in place of AICore(%). `other` has whatever has no field here, under
    its header's or its label's own name.
    """

    npu: int | None
    chip: int | None
    phy: int | None
    name: str | None
    health: str | None
    power_w: float | None
    temp_c: float | None
    bus: str | None
    aicore_pct: float | None
    hbm_used_mb: int | None
    hbm_total_mb: int | None
    ddr_used_mb: int | None = None
    ddr_total_mb: int | None = None
    npu_pct: float | None = None
    other: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Process:
    """One row of the process table. `name` is None where it is blank: a process of another container."""

    npu: int | None
    chip: int | None
    pid: int
    name: str | None
    memory_mb: int | None


@dataclass(frozen=True)
class Reading:
    """All that was read of one text, and `unread`: the lines that were not, shortened where they are long."""

    kind: Kind
    tool_version: str | None
    driver_version: str | None
    chips: tuple[Chip, ...]
    processes: tuple[Process, ...]
    error: str | None
    unread: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The JSON interface of `python -m env npu-smi --json`: every field, for every kind of answer."""
        return {
            "kind": self.kind.value,
            "tool_version": self.tool_version,
            "driver_version": self.driver_version,
            "chips": [asdict(chip) for chip in self.chips],
            "processes": [asdict(process) for process in self.processes],
            "error": self.error,
            "unread": list(self.unread),
        }


ABSENT = frozenset(("", "-", "NA"))  # N/A is made NA before it meets a "/"
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?\Z")


def whole(text: str) -> int | None:
    return int(text) if _WHOLE.match(text) else None


def decimal(text: str) -> float | None:
    return float(text) if _DECIMAL.match(text) else None


def word(text: str) -> str | None:
    return None if text.replace("N/A", "NA") in ABSENT else text


def version(text: str | None) -> str | None:
    """A version, or None where it is masked (xxx.xxx.xxx)."""
    return text if text and text[0] in "0123456789" else None
