"""CANN's hccl_test, read from what it prints: a row a size, with a word on whether the sums were right.

Calls and forms: CANN's HCCL Test (oam-tools, src/hccl_test: README, and hccl_opbase_rootinfo_base.h, which heads the
time "aveg_time"). NULL is a sum that was not checked; only "success" is one that was right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from env.ascend_dmi import HOME

PROGRAM = "tools/hccl_test/bin/all_reduce_test"
TOOLKITS = ("cann", "ascend-toolkit/latest")  # under the vendor's folder: since CANN 8.5, and before
# MPI as CANN's guide has it installed (HCCL Test, "MPI_HOME"); nothing on PATH is taken for it.
MPI = ("mpich*/bin/mpirun", "openmpi*/bin/mpirun")
SUCCESS, UNCHECKED = "success", "NULL"

_DECIMAL = r"(\d{1,12}(?:\.\d{1,9})?)"
_ROW = re.compile(rf"\s*(\d{{1,15}})\s*\|\s*{_DECIMAL}\s*\|\s*{_DECIMAL}\s*\|\s*(\w{{1,20}})\s*\|?\s*")


@dataclass(frozen=True)
class Row:
    """One size: bytes, microseconds of one call, GB/s of bytes over time, and the tool's own word on the sums."""

    bytes: int
    us: float
    gb_s: float
    word: str


def find_program(home: Path = HOME) -> Path | None:
    """The test at the vendor's places; None where it is not built."""
    return next((path for place in TOOLKITS if (path := home / place / PROGRAM).is_file()), None)


def find_mpirun(folder: Path = Path("/usr/local")) -> Path | None:
    return next((path for place in MPI for path in sorted(folder.glob(place), reverse=True)), None)


def command(mpirun: Path, program: Path, cards: int, sizes: tuple[int, int], factor: int) -> tuple[str, ...]:
    """All-reduces of float32 from the first size to the last, each `factor` times the one before, sums checked."""
    least, most = sizes
    words = f"-p {cards} -b {least} -e {most} -f {factor} -d fp32 -o sum -c 1"
    return (str(mpirun), "-n", str(cards), str(program), *words.split())


def environment(cards: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What it runs in: those cards by the machine's own numbers."""
    rest = {name: value for name, value in environ.items() if name != "ASCEND_RT_VISIBLE_DEVICES"}
    return {**rest, "HCCL_TEST_USE_DEVS": ",".join(cards)}


def parse(text: str) -> list[Row]:
    """The rows of an output; none where it holds none."""
    rows = (_ROW.fullmatch(line) for line in text.splitlines() if len(line) < 200)
    return [Row(int(row[1]), float(row[2]), float(row[3]), row[4]) for row in rows if row]
