"""Read what `npu-smi info` printed, in any of its layouts, or the message it printed instead.

Widths and column positions changed with every generation of the tool (93 to 116 characters); the order of the fields
did not. So rows are split on `|` and told apart by what their cells hold. Nothing here raises on any text: a line that
cannot be read is returned as unread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a text turned out to be. The value is the exit code of `python -m env npu-smi`."""

    TABLE = 0
    FAILURE = 3
    NEITHER = 4


@dataclass(frozen=True)
class Chip:
    """One die as the table shows it. None where the table says NA or "-", or leaves the field out.

    `phy` is the Phy-ID column of cards with two dies (A3). `hbm_*` is HBM-Usage where the table has that column,
    otherwise Memory-Usage (310 class boards).
    """

    npu: int
    chip: int
    phy: int | None
    name: str | None
    health: str | None
    power_w: float | None
    temp_c: float | None
    bus: str | None
    aicore_pct: float | None
    hbm_used_mb: int | None
    hbm_total_mb: int | None


@dataclass(frozen=True)
class Process:
    """One row of the process table. `name` is None where it is blank: a process of another container."""

    npu: int
    chip: int
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
        """The fixed JSON interface of `python -m env npu-smi --json`: every field but `kind`, the exit code."""
        return {
            "tool_version": self.tool_version,
            "driver_version": self.driver_version,
            "chips": [asdict(chip) for chip in self.chips],
            "processes": [asdict(process) for process in self.processes],
            "error": self.error,
            "unread": list(self.unread),
        }


# What npu-smi, or the shell in its place, prints when there is no table to print. Wordings: the captured failures
# (dcmi -8005 and -8020, driver incomplete, card id, unsupported query), the loader's and the shells' own messages.
_FAILURES = re.compile(
    r"""\bdcmi\b.{0,80}\bfailed | \bret\ is\ -8[0-9]{3}\b | \bDrvMng\w{1,60}\ failed
    | \bbecause\ the\ device\ is\ used\b
    | \bdriver\ package\ may\ not\ be\ completely\ installed
    | \bInvalid\ card\ id\b | \bError\ parameter\ of\ - | ^Usage:\ npu-smi\b
    | \bThis\ device\ does\ not\ support\b
    | \bCan't\ get\ ascend_hal\ device\ count
    | \bnpu-smi\b.{0,20}:\ .{0,40}(?: not\ found | No\ such\ file | [Pp]ermission\ denied )
    | \bnpu-smi\b.{0,20}:\ .{0,40}(?: cannot\ execute | no\ answer )
    | \bnpu-smi\b.{0,20}:\ error\ while\ loading\ shared\ libraries
    | '?npu-smi'?\ is\ not\ recognized
    """,
    re.VERBOSE,
)
_ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_BORDER = re.compile(r"[-+=|]+\Z")
_BANNER = re.compile(r"npu-smi\s+(\S+)(?:\s+Version:\s*(\S+))?\s*\Z")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?\Z")
_ABSENT = frozenset(("", "-", "NA"))  # N/A is made NA before it meets a "/"
_HEALTH = frozenset(("OK", "WARNING", "ALARM", "CRITICAL", "UNKNOWN"))  # the words of `npu-smi info -t health`

_LONGEST_ROW = 1000  # characters; the widest real row has 116
_UNREAD_WIDTH = 200
_UNREAD_LINES = 200


def parse(text: str) -> Reading:
    """Read `text`. Never raises, whatever it holds."""
    table = _Table()
    failures: list[str] = []
    for number, raw in enumerate(_LINE_END.split(text)):
        line = _ANSI.sub("", raw).strip(" \t\v\f\0\ufeff")
        short = len(line) <= _LONGEST_ROW
        if not line or (short and _BORDER.match(line)):
            continue
        if short and line.startswith("|"):
            table.take(_Line(number, line))
        elif short and _FAILURES.search(line):
            failures.append(line)
        else:
            table.unread[number] = line
            if not line.strip(".\u2026"):
                table.drop_upper()  # rows were left out here: what follows belongs to another chip
    return table.reading(failures)


class _Line(NamedTuple):
    """A line of the text that starts with `|`, and where it stands."""

    number: int
    text: str


class _Banner(NamedTuple):
    """`npu-smi 23.0.2    Version: 23.0.2`."""

    tool_version: str
    driver_version: str | None


class _Idle(NamedTuple):
    """`No running processes found in NPU 0`."""


class _Header(NamedTuple):
    """A line of column names: what it changes in how the rows below it are read."""

    opens_chips: bool = False  # over the first of a chip's rows: a new table
    lower: str | None = None  # over the second: its names
    process: int | None = None  # of the process table: how many columns it has


class _Upper(NamedTuple):
    """The first of a chip's two rows. `whole`: every figure in it is a number or a word for "none"."""

    npu: int
    name: str | None
    health: str | None
    power_w: float | None
    temp_c: float | None
    whole: bool


class _Lower(NamedTuple):
    """The second of a chip's two rows; `whole` as above."""

    chip: int
    phy: int | None
    bus: str | None
    aicore_pct: float | None
    hbm_used_mb: int | None
    hbm_total_mb: int | None
    whole: bool


_Row = _Banner | _Idle | _Header | _Upper | _Lower | Process


def _row(cells: Sequence[str], lower_columns: str | None, process_columns: int, half: bool) -> _Row | None:
    """What a row is, by its cells; None where it is nothing known.

    `lower_columns` and `process_columns` are what the headers above tell, `half` that a chip's second row is due.
    """
    match [cell.split() for cell in cells]:
        case [["NPU", "Name", *_], ["Health"], _]:
            return _Header(opens_chips=True)
        case [["Chip", *_], ["Bus-Id"], _]:
            return _Header(lower=f"{cells[0]} {cells[2]}")
        case [["NPU", "Chip"], ["Process", "id"], _, _, *_]:
            return _Header(process=len(cells))
        case [_]:
            return _single(cells[0])
        case [_, _, _]:
            return (_lower(cells, lower_columns) if half else None) or _upper(cells)
        case [_, _, _, _, *_]:
            return _process(cells, process_columns)
    return None


def _single(cell: str) -> _Banner | _Idle | None:
    if banner := _BANNER.match(cell):
        return _Banner(banner[1], banner[2])
    return _Idle() if cell.startswith("No running processes found") else None


def _upper(cells: Sequence[str]) -> _Upper | None:
    npu, name = [*cells[0].split(None, 1), "", ""][:2]
    if not _WHOLE.match(npu) or ":" in cells[1]:
        return None
    figures = [*_figures(cells[2]), "", ""][:2]
    return _Upper(
        npu=int(npu),
        name=_word(name),
        health=_word(cells[1]),
        power_w=_decimal(figures[0]),
        temp_c=_decimal(figures[1]),
        whole=_readable(figures),
    )


def _lower(cells: Sequence[str], columns: str | None) -> _Lower | None:
    ids = cells[0].split()
    if cells[1].upper() in _HEALTH or not 1 <= len(ids) <= 2 or not _WHOLE.match(ids[0]):
        return None
    if len(ids) == 2 and _whole(ids[1]) is None and ids[1] not in _ABSENT:
        return None
    figures = _figures(cells[2])
    pairs = [figure for figure in figures if "/" in figure]
    columns = columns if columns is not None else ("Phy-ID HBM-Usage" if len(pairs) > 1 else "")
    memory = 1 if "HBM-Usage" in columns else 0
    used, _slash, total = (pairs[memory] if len(pairs) > memory else "").partition("/")
    return _Lower(
        chip=int(ids[0]),
        phy=_whole(ids[1]) if len(ids) == 2 and "Phy-ID" in columns else None,
        bus=_word(cells[1]),
        aicore_pct=_decimal(figures[0]) if figures else None,
        hbm_used_mb=_whole(used),
        hbm_total_mb=_whole(total),
        whole=_readable([*figures[:1], used, total]),
    )


def _process(cells: Sequence[str], columns: int) -> Process | None:
    # A process name may hold "|": whatever stands between the pid and the columns after the name belongs to it.
    after_name = columns - 3
    ids = cells[0].split()
    if len(cells) < columns or len(ids) != 2:
        return None
    npu, chip, pid = _whole(ids[0]), _whole(ids[1]), _whole(cells[1])
    if npu is None or chip is None or pid is None:
        return None
    return Process(npu, chip, pid, _word("|".join(cells[2:-after_name])), _whole(cells[-after_name]))


class _Table:
    """The rows read so far, and what the headers tell of the rows to come."""

    def __init__(self) -> None:
        self.banner: _Banner | None = None
        self.chips: dict[tuple[int, int], Chip] = {}
        self.processes: dict[tuple[int, int, int], Process] = {}
        self.unread: dict[int, str] = {}  # by place in the text
        self.headers = 0
        self.lower_columns: str | None = None
        self.process_columns = 4
        self.upper: tuple[_Line, _Upper] | None = None  # waits for the chip's second row

    def take(self, line: _Line) -> None:
        """Read one row, and change the table by what it is: the one place that does."""
        cells = [cell.strip() for cell in line.text[1:].split("|")]
        cut_off = cells[-1] != ""
        if cut_off:
            cells[-1] = ""  # it may end in the middle of a number, so it is not believed
        else:
            cells.pop()
        row = _row(cells, self.lower_columns, self.process_columns, half=self.upper is not None)
        match row:
            case _Banner():
                self.banner = row
            case _Header():
                self._take_header(row)
            case _Upper():
                self.drop_upper()
                self.upper = line, row
            case _Lower():
                self._take_chip(line, row)
            case Process():
                self.processes.setdefault((row.npu, row.chip, row.pid), row)
        if cut_off or row is None or (isinstance(row, (_Upper, _Lower)) and not row.whole):
            self.unread[line.number] = line.text

    def _take_header(self, header: _Header) -> None:
        self.headers += 1
        if header.opens_chips:
            self.drop_upper()
        if header.lower is not None:
            self.lower_columns = header.lower
        if header.process is not None:
            self.process_columns = header.process

    def _take_chip(self, line: _Line, lower: _Lower) -> None:
        """Make a chip of the row that waits and its second one."""
        assert self.upper is not None  # a lower row is read only after an upper one
        (above, upper), self.upper = self.upper, None
        if (upper.npu, lower.chip) in self.chips:
            # A second table in the text (a loop, `watch`): chips are counted once.
            self.unread.update((above, line))
            return
        self.chips[upper.npu, lower.chip] = Chip(
            npu=upper.npu,
            chip=lower.chip,
            phy=lower.phy,
            name=upper.name,
            health=upper.health,
            power_w=upper.power_w,
            temp_c=upper.temp_c,
            bus=lower.bus,
            aicore_pct=lower.aicore_pct,
            hbm_used_mb=lower.hbm_used_mb,
            hbm_total_mb=lower.hbm_total_mb,
        )

    def drop_upper(self) -> None:
        """The second row of a chip did not come: the first one was not read."""
        if self.upper is not None:
            self.unread.update((self.upper[0],))
            self.upper = None

    def reading(self, failures: Sequence[str]) -> Reading:
        self.drop_upper()
        if self.chips or self.processes or (self.headers and not self.unread and not failures):
            kind = Kind.TABLE
        else:
            kind = Kind.FAILURE if failures else Kind.NEITHER
        return Reading(
            kind=kind,
            tool_version=self.banner.tool_version if self.banner else None,
            driver_version=self.banner.driver_version if self.banner else None,
            chips=tuple(self.chips.values()),
            processes=tuple(self.processes.values()),
            error="; ".join(failures[:10]) or None,
            unread=_shortened([line for _number, line in sorted(self.unread.items())]),
        )


def _readable(figures: Sequence[str]) -> bool:
    """Whether every figure is a number or a word for "none"."""
    return all(_decimal(figure) is not None or figure in _ABSENT for figure in figures)


def _figures(cell: str) -> list[str]:
    """The figures of a cell in order, "used / total" in any spacing as one "used/total"."""
    return re.sub(r" ?/ ?", "/", " ".join(cell.replace("N/A", "NA").split())).split()


def _whole(word: str) -> int | None:
    return int(word) if _WHOLE.match(word) else None


def _decimal(word: str) -> float | None:
    return float(word) if _DECIMAL.match(word) else None


def _word(text: str) -> str | None:
    return None if text.replace("N/A", "NA") in _ABSENT else text


def _shortened(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [line if len(line) <= _UNREAD_WIDTH else f"{line[:_UNREAD_WIDTH]}..." for line in lines[:_UNREAD_LINES]]
    if len(lines) > _UNREAD_LINES:
        kept.append(f"... and {len(lines) - _UNREAD_LINES} more lines")
    return tuple(kept)
