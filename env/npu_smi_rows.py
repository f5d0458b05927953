"""The rows of `npu-smi info`: what a row is, by its cells and by the heads above it.

Widths, column positions and the number of cells changed with the generations of the tool; the order of the fields did
not. So a row is split on `|`, figures take the names that the head above them has, and where the head was cut off or
does not fit, their order tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from env.chips import chip_named
from env.npu_smi_reading import ABSENT, Chip, Process, decimal, whole, word

_BANNER = re.compile(r"npu-smi\s+(\S+)(?:\s+Version:\s*(\S+))?\s*\Z")
_COLUMN = re.compile(r"[^\s()][^()]*\([^()]*\)")  # "NPU Util(%)"
HEALTH = frozenset(("OK", "WARNING", "ALARM", "CRITICAL", "UNKNOWN"))  # the words of `npu-smi info -t health`
POWER, TEMPERATURE, AI_CORE, NPU = "Power(W)", "Temp(C)", "AICore(%)", "NPU Util(%)"
HUGEPAGES = "Hugepages-Usage(page)"
MEMORY, HBM = "Memory-Usage(MB)", "HBM-Usage(MB)"


@dataclass(frozen=True)
class Heads:
    """The lines of column names read so far, as cells; empty where none was."""

    upper: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    process_columns: int = 4


class Banner(NamedTuple):
    """`npu-smi 23.0.2    Version: 23.0.2`."""

    tool_version: str
    driver_version: str | None


class Idle(NamedTuple):
    """`No running processes found in NPU 0`."""


class Header(NamedTuple):
    """A line of column names: over the first of a chip's rows, over the second, or over the processes."""

    upper: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    process_columns: int = 0


@dataclass(frozen=True)
class Upper:
    """The first of a chip's two rows. `readable`: every figure in it is a number or a word for "none"."""

    npu: int
    name: str | None
    health: str | None
    power_w: float | None
    temp_c: float | None
    readable: bool
    other: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lower:
    """The second of a chip's two rows; `hbm` and `ddr` are "used/total", or blank."""

    chip: int
    phy: int | None
    bus: str | None
    aicore_pct: float | None
    npu_pct: float | None
    hbm: str
    ddr: str
    readable: bool
    other: dict[str, str] = field(default_factory=dict)


Row = Banner | Idle | Header | Upper | Lower | Process


def read_row(cells: Sequence[str], heads: Heads, waits: Upper | None) -> Row | None:
    """What a row is; None where it is nothing known. `waits` is the chip's first row where the second is due."""
    match [cell.split() for cell in cells]:
        case [["NPU", "Name", *_], ["Health"], _]:
            return Header(upper=tuple(cells))
        case [["NPU", "Name", *_], ["Health"], [_, _, *_], *_] | [["NPU", "ID"], ["Name"], ["Health"], _, *_]:
            return Header(upper=tuple(cells))
        case [["Chip", *_], ["Bus-Id"], _, *_] | [[], [], ["Bus-Id"], _, *_]:
            return Header(lower=tuple(cells))
        case [["NPU", "Chip" | "ID"], ["Process", "id"], _, _, *_]:
            return Header(process_columns=len(cells))
        case [_]:
            return _single(cells[0])
        case [_, _, _, *_]:
            return (
                (_lower(cells, heads.lower, waits) if waits is not None else None)
                or _process(cells, heads.process_columns)
                or _upper(cells, heads.upper)
            )
    return None


def _single(cell: str) -> Banner | Idle | None:
    if banner := _BANNER.match(cell):
        return Banner(banner[1], banner[2])
    return Idle() if cell.startswith("No running processes found") else None


def _upper(cells: Sequence[str], head: Sequence[str]) -> Upper | None:
    """The ids and the name share a cell, or have one each (950)."""
    extra = 1 if (head[1:2] == ("Name",) if len(head) == len(cells) else len(cells) > 3) else 0
    if len(cells) < 3 + extra:
        return None
    npu, name = (cells[0], cells[1]) if extra else [*cells[0].split(None, 1), "", ""][:2]
    health = cells[1 + extra]
    if whole(npu) is None or ":" in health:
        return None
    figures = _named(cells[2 + extra], head[2 + extra : 3 + extra], (POWER, TEMPERATURE))
    if extra and len(figures) < 2 and cells[2 + extra]:
        return None
    power, temperature = figures.pop(POWER, ""), figures.pop(TEMPERATURE, "")
    return Upper(
        npu=int(npu),
        name=word(name),
        health=word(health),
        power_w=decimal(power),
        temp_c=decimal(temperature),
        readable=_readable((power, temperature)),
        other=figures | _further(cells, head, 3 + extra),
    )


def _lower(cells: Sequence[str], head: Sequence[str], upper: Upper | None) -> Lower | None:
    extra = 1 if cells[0] == "" and cells[1] == "" and len(cells) > 3 else 0
    ids = ["0"] if extra else cells[0].split()
    bus = cells[1 + extra]
    if bus.upper() in HEALTH or not 1 <= len(ids) <= 2 or whole(ids[0]) is None:
        return None
    if len(ids) == 2 and whole(ids[1]) is None and ids[1] not in ABSENT:
        return None
    cell = cells[2 + extra]
    figures = _named(cell, head[2 + extra : 3 + extra], (NPU if extra else AI_CORE, MEMORY, HBM))
    busy = {name: figures.pop(name) for name in (AI_CORE, NPU) if name in figures}
    board, own = figures.pop(MEMORY, ""), figures.pop(HBM, None)
    shown = own is not None or not board
    if own is None:
        # Where the head has no other memory, it is what a model is loaded into. Without a head that fits, a lone
        # figure of a chip that has HBM is the board's DDR: its HBM was not shown.
        shown = _fits(cell, head[2 + extra : 3 + extra]) or not board or not _has_hbm(upper)
        own, board = (board, "") if shown else ("", board)
    second = head[0].split()[1:] if len(head) == len(cells) else ["Phy-ID"] if board else []
    other = {second[0]: ids[1]} if second and second != ["Phy-ID"] and len(ids) == 2 else {}
    return Lower(
        chip=int(ids[0]),
        phy=whole(ids[1]) if len(ids) == 2 and second == ["Phy-ID"] else None,
        bus=word(bus),
        aicore_pct=decimal(busy.get(AI_CORE, "")),
        npu_pct=decimal(busy.get(NPU, "")),
        hbm=own,
        ddr=board,
        readable=shown and _readable([*busy.values(), *own.split("/", 1), *board.split("/", 1)]),
        other=other | figures | _further(cells, head, 3 + extra),
    )


def _has_hbm(upper: Upper | None) -> bool:
    kind = chip_named(upper.name) if upper else None
    return kind is not None and kind.memory == "HBM"


def make_chip(upper: Upper, lower: Lower) -> Chip:
    """A chip of its two rows."""
    (used, total), (ddr_used, ddr_total) = _pair(lower.hbm), _pair(lower.ddr)
    return Chip(
        npu=upper.npu,
        chip=lower.chip,
        phy=lower.phy,
        name=upper.name,
        health=upper.health,
        power_w=upper.power_w,
        temp_c=upper.temp_c,
        bus=lower.bus,
        aicore_pct=lower.aicore_pct,
        hbm_used_mb=used,
        hbm_total_mb=total,
        ddr_used_mb=ddr_used,
        ddr_total_mb=ddr_total,
        npu_pct=lower.npu_pct,
        other=upper.other | lower.other,
    )


def _process(cells: Sequence[str], columns: int) -> Process | None:
    # A process name may hold "|": whatever stands between the pid and the columns after the name belongs to it.
    after_name = columns - 3
    ids = [*map(whole, cells[0].split())]
    if len(cells) < max(columns, 4) or not 1 <= len(ids) <= 2:
        return None
    npu, chip, pid = ids[0], ids[1] if len(ids) == 2 else 0, whole(cells[1])
    if npu is None or chip is None or pid is None:
        return None
    return Process(npu, chip, pid, word("|".join(cells[2:-after_name])), whole(cells[-after_name]))


def _columns(head: Sequence[str]) -> list[str]:
    return _COLUMN.findall(head[0]) if head else []


def _fits(cell: str, head: Sequence[str]) -> bool:
    """Whether the head over a cell names each of its figures."""
    return bool(head) and len(_columns(head)) == len(_figures(cell))


def _named(cell: str, head: Sequence[str], order: Sequence[str]) -> dict[str, str]:
    """The figures of a cell by their columns: the head's where it fits, else the first ones by `order`."""
    return dict(zip(_columns(head) if _fits(cell, head) else order, _figures(cell), strict=False))


def _further(cells: Sequence[str], head: Sequence[str], known: int) -> dict[str, str]:
    """Cells that no layout had so far, under their heads."""
    if len(head) != len(cells):
        return {}
    return {name: cell for name, cell in zip(head[known:], cells[known:], strict=True) if name}


def _pair(text: str) -> tuple[int | None, int | None]:
    used, _slash, total = text.partition("/")
    return whole(used), whole(total)


def _readable(figures: Sequence[str]) -> bool:
    """Whether every figure is a number or a word for "none"."""
    return all(decimal(figure) is not None or figure in ABSENT for figure in figures)


def _figures(cell: str) -> list[str]:
    """The figures of a cell in order, "used / total" in any spacing as one "used/total"."""
    return re.sub(r" ?/ ?", "/", " ".join(cell.replace("N/A", "NA").split())).split()
