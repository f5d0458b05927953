"""chips.toml, typed: the chips that the emulated NPU can be, and the variables that make it one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from env.chips import chip_of_soc
from env.toml import load_toml

CHIPS = Path(__file__).with_name("chips.toml")
MB = 1 << 20


@dataclass(frozen=True)
class EmulatedChip:
    """One chip. See the head of chips.toml for the fields; None where it is not known."""

    name: str
    soc: str
    memory_mb: int
    idle_mb: int
    saturates: bool
    hf32: bool
    jit: bool
    source: str
    cores: tuple[int, int] = (0, 0)
    l2_mb: int = 0
    mhz: int | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that runs on this chip: acl.c and arithmetic.py read it."""
        family = chip_of_soc(self.soc)
        assert family is not None  # tests/env/npu_emulator/test_chips.py
        return {
            "NPU_EMU_SOC": self.soc,
            "NPU_EMU_HBM": str(self.memory_mb * MB),
            "NPU_EMU_TAKEN": str(self.idle_mb * MB),
            "NPU_EMU_AI_CORES": str(self.cores[0]),
            "NPU_EMU_VECTOR_CORES": str(self.cores[1]),
            "NPU_EMU_L2_MB": str(self.l2_mb),
            "NPU_EMU_SATURATES": str(int(self.saturates)),
            "NPU_EMU_JIT": str(int(self.jit)),
            "NPU_EMU_HF32": str(int(self.hf32)),
            "NPU_EMU_BFLOAT16": str(int(bool(family.bfloat16))),
            "NPU_EMU_PRODUCTS": family.float32 or "float32",
        }


@cache
def load_emulated_chips() -> dict[str, EmulatedChip]:
    """The chips by name. The table is ours: a fault in it is a bug, and raises as one."""
    data = load_toml(CHIPS)
    sources: dict[str, str] = data["sources"]
    chips: dict[str, EmulatedChip] = {}
    for row in data["chip"]:
        fields: dict[str, Any] = {
            key.replace("-", "_"): tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        fields["source"] = "; ".join(sources[name] for name in fields.pop("sources"))
        chips[row["name"]] = EmulatedChip(**fields)
    return chips


def chip_like(soc: str) -> EmulatedChip | None:
    """The chip that stands for the family of another one; None for a family that none stands for."""
    family = chip_of_soc(soc)
    alike = (chip for chip in load_emulated_chips().values() if chip_of_soc(chip.soc) == family)
    return next(alike, None) if family is not None else None
