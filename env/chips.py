"""chips.toml, typed: what is known of each family of chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from env.toml import load_toml
from env.versions import base, parse

CHIPS = Path(__file__).with_name("chips.toml")
A3 = "Ascend910"  # npu-smi's whole name of an A3's chip; every other "Ascend" before a name is decoration


@dataclass(frozen=True)
class ChipKind:
    """A family of chips. See the head of chips.toml for the fields; None, or empty, where it is not known."""

    name: str
    names: tuple[str, ...]
    kernels: str
    memory: str
    source: str
    soc: tuple[str, ...] = ()
    soc_versions: tuple[int, ...] = ()
    pci: str | None = None
    package: tuple[str, ...] = ()
    board_memory: bool = False
    bfloat16: bool | None = None
    float32: str | None = None
    dies: int = 1
    nodes: tuple[str, ...] = ()
    nodes_optional: tuple[str, ...] = ()
    idle_mb: int | None = None  # the most that an idle chip of it was seen to use
    cann: str | None = None
    torch_npu: tuple[str, ...] = ()
    unknown_to: tuple[str, ...] = ()

    def is_called(self, name: str) -> bool:
        """Whether npu-smi, or the runtime, calls a chip of this family so."""
        short = name if name == A3 else name.removeprefix("Ascend")
        return any(fnmatchcase(short, pattern) for pattern in self.names)

    def served_by(self, torch_npu: str) -> bool | None:
        """Whether a torch-npu release (its public version) knows this family; None where nobody says so."""
        if not self.torch_npu and not self.unknown_to:
            return True if self.soc_versions else None
        if any(_from_here_on(first, torch_npu) for first in self.torch_npu):
            return True
        return False if any(_from_here_on(torch_npu, last) for last in self.unknown_to) else None


def _from_here_on(first: str, version: str) -> bool:
    """Whether `version` is `first` or a later release for the same torch."""
    return base(first) == base(version) and parse(first) <= parse(version)


def find_chip(
    kinds: Sequence[ChipKind], name: str | None, pci: str | None, board_memory: bool | None = None
) -> ChipKind | None:
    """The family of a chip, or None where it is in no row.

    The PCI id decides where it is known, then the name; `board_memory`, whether npu-smi shows DDR beside the HBM,
    decides between families that share a name.
    """
    by_pci = next((row for row in kinds if row.pci is not None and row.pci == pci), None)
    if by_pci is not None or not name:
        return by_pci
    named = [row for row in kinds if row.is_called(name)]
    fitting = [row for row in named if board_memory is None or row.board_memory == board_memory]
    return next(iter(fitting or named), None)


@cache
def load_chips() -> tuple[ChipKind, ...]:
    """The table. It is ours: a fault in it is a bug, and raises as one."""
    data = load_toml(CHIPS)
    sources: dict[str, str] = data["sources"]
    rows: list[ChipKind] = []
    for row in data["chip"]:
        fields: dict[str, Any] = {
            key.replace("-", "_"): tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        fields["source"] = "; ".join(sources[name] for name in fields.pop("sources"))
        rows.append(ChipKind(**fields))
    return tuple(rows)


def chip_named(name: str | None) -> ChipKind | None:
    """The family that a name alone tells."""
    return find_chip(load_chips(), name, None)


def chip_of_soc(soc: str | None) -> ChipKind | None:
    """The family of a chip by the runtime's own name for it: "Ascend910B" is of the first generation there."""
    return next((row for row in load_chips() if soc and any(fnmatchcase(soc, name) for name in row.soc)), None)
