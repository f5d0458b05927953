"""Read what `npu-smi info` printed, in any of its layouts, or the message it printed instead.

Widths and column positions changed with every generation of the tool (93 to 116 characters); the order of the fields
did not. So rows are split on `|` and told apart by what their cells hold. Nothing here raises on any text: a line that
cannot be read is returned as unread.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from env.errors import InputError


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
            table.row(_Row(number, line))
        elif short and _FAILURES.search(line):
            failures.append(line)
        else:
            table.unread[number] = line
            if not line.strip(".\u2026"):
                table.drop_upper()  # rows were left out here: what follows belongs to another chip
    return table.reading(failures)


class _Row(NamedTuple):
    """A line of the text that starts with `|`, and where it stands."""

    number: int
    line: str


@dataclass(frozen=True)
class _Upper:
    """The first of a chip's two rows, waiting for the second."""

    row: _Row
    npu: int
    name: str | None
    health: str | None
    power_w: float | None
    temp_c: float | None


class _Table:
    """The rows read so far, and what the headers said of the rows to come."""

    def __init__(self) -> None:
        self.tool_version: str | None = None
        self.driver_version: str | None = None
        self.chips: dict[tuple[int, int], Chip] = {}
        self.processes: dict[tuple[int, int, int], Process] = {}
        self.unread: dict[int, str] = {}  # by place in the text
        self.heads = 0
        self.columns: str | None = None  # the header over the second row of a chip
        self.process_columns = 4
        self.upper: _Upper | None = None

    def reading(self, failures: Sequence[str]) -> Reading:
        self.drop_upper()
        if self.chips or self.processes or (self.heads and not self.unread and not failures):
            kind = Kind.TABLE
        else:
            kind = Kind.FAILURE if failures else Kind.NEITHER
        return Reading(
            kind=kind,
            tool_version=self.tool_version,
            driver_version=self.driver_version,
            chips=tuple(self.chips.values()),
            processes=tuple(self.processes.values()),
            error="; ".join(failures[:10]) or None,
            unread=_shortened([line for _, line in sorted(self.unread.items())]),
        )

    def row(self, row: _Row) -> None:
        cells = [cell.strip() for cell in row.line[1:].split("|")]
        if cells[-1] == "":
            cells.pop()
        else:
            # The row was cut off: its last cell may end in the middle of a number, so it is not believed.
            self.unread[row.number] = row.line
            cells[-1] = ""
        if not (
            self._head(cells)
            or (len(cells) == 1 and self._single(cells[0]))
            or (len(cells) == 3 and (self._lower(cells, row) or self._upper(cells, row)))
            or (len(cells) >= 4 and self._process(cells))
        ):
            self.unread[row.number] = row.line

    def _head(self, cells: list[str]) -> bool:
        first = cells[0].split() if cells else []
        if len(cells) == 3 and first[:2] == ["NPU", "Name"] and cells[1] == "Health":
            self.drop_upper()
        elif len(cells) == 3 and first[:1] == ["Chip"] and cells[1] == "Bus-Id":
            self.columns = f"{cells[0]} {cells[2]}"
        elif len(cells) >= 4 and first == ["NPU", "Chip"] and cells[1] == "Process id":
            self.process_columns = len(cells)
        else:
            return False
        self.heads += 1
        return True

    def _single(self, cell: str) -> bool:
        if banner := _BANNER.match(cell):
            self.tool_version, self.driver_version = banner.groups()
            return True
        return cell.startswith("No running processes found")

    def _upper(self, cells: list[str], row: _Row) -> bool:
        npu, name, *_ = *cells[0].split(None, 1), "", ""
        if not _WHOLE.match(npu) or ":" in cells[1]:
            return False
        self.drop_upper()
        figures = [*_figures(cells[2]), "", ""]
        self.upper = _Upper(row, int(npu), _word(name), _word(cells[1]), _decimal(figures[0]), _decimal(figures[1]))
        self._note_unreadable(row, figures[:2])
        return True

    def _lower(self, cells: list[str], row: _Row) -> bool:
        ids = cells[0].split()
        if self.upper is None or cells[1].upper() in _HEALTH or not 1 <= len(ids) <= 2:
            return False
        if not _WHOLE.match(ids[0]) or (len(ids) == 2 and _whole(ids[1]) is None and ids[1] not in _ABSENT):
            return False
        upper, self.upper = self.upper, None
        figures = _figures(cells[2])
        pairs = [figure for figure in figures if "/" in figure]
        columns = self.columns if self.columns is not None else ("Phy-ID HBM-Usage" if len(pairs) > 1 else "")
        wanted = 1 if "HBM-Usage" in columns else 0
        used, _, total = (pairs[wanted] if len(pairs) > wanted else "").partition("/")
        chip = Chip(
            npu=upper.npu,
            chip=int(ids[0]),
            phy=_whole(ids[1]) if len(ids) == 2 and "Phy-ID" in columns else None,
            name=upper.name,
            health=upper.health,
            power_w=upper.power_w,
            temp_c=upper.temp_c,
            bus=_word(cells[1]),
            aicore_pct=_decimal(figures[0]) if figures else None,
            hbm_used_mb=_whole(used),
            hbm_total_mb=_whole(total),
        )
        if (chip.npu, chip.chip) in self.chips:
            # A second table in the text (a loop, `watch`): chips are counted once.
            self.unread.update((upper.row, row))
            return True
        self.chips[chip.npu, chip.chip] = chip
        self._note_unreadable(row, [*figures[:1], used, total])
        return True

    def _process(self, cells: list[str]) -> bool:
        # A process name may hold "|": whatever stands between the pid and the columns after the name belongs to it.
        after_name = self.process_columns - 3
        ids = cells[0].split()
        if len(cells) < self.process_columns or len(ids) != 2:
            return False
        npu, chip, pid = _whole(ids[0]), _whole(ids[1]), _whole(cells[1])
        if npu is None or chip is None or pid is None:
            return False
        name = "|".join(cells[2:-after_name])
        self.processes.setdefault((npu, chip, pid), Process(npu, chip, pid, _word(name), _whole(cells[-after_name])))
        return True

    def drop_upper(self) -> None:
        if self.upper is not None:
            self.unread.update((self.upper.row,))
            self.upper = None

    def _note_unreadable(self, row: _Row, figures: Sequence[str]) -> None:
        """A figure that is neither a number nor a word for "none" was not read, though its row was."""
        if not all(_decimal(figure) is not None or figure in _ABSENT for figure in figures):
            self.unread[row.number] = row.line


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


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m env npu-smi",
        description="Read what `npu-smi info` printed.",
        epilog="Exit status: 0 a table was read, 3 a failure message was read, 4 neither.",
    )
    parser.add_argument("file", help='captured output, or "-" for standard input')
    parser.add_argument("--json", action="store_true", help="print the reading as JSON")
    arguments = parser.parse_args(argv)
    reading = parse(read_capture(arguments.file))
    if arguments.json:
        print(json.dumps(reading.as_dict(), indent=2))
    else:
        _show(reading)
    return reading.kind.value


def read_capture(file: str) -> str:
    """The text of a captured output: UTF-8, or UTF-16 with its mark (as PowerShell redirects), never a decode error.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", next=f"ls -l {file}") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, "replace")


def _show(reading: Reading) -> None:
    def shown(value: object, unit: str = "") -> str:
        return "?" if value is None else f"{value}{unit}"

    if reading.kind is Kind.TABLE:
        print(f"npu-smi {shown(reading.tool_version)}, driver {shown(reading.driver_version)}")
    for chip in reading.chips:
        print(
            f"npu {chip.npu} chip {chip.chip}: {shown(chip.name)}, {shown(chip.health)}, {shown(chip.power_w, ' W')}, "
            f"{shown(chip.temp_c, ' C')}, bus {shown(chip.bus)}, AI core {shown(chip.aicore_pct, ' %')}, "
            f"memory {shown(chip.hbm_used_mb)} of {shown(chip.hbm_total_mb)} MB"
        )
    for process in reading.processes:
        print(
            f"npu {process.npu} chip {process.chip}: process {process.pid} ({shown(process.name)}), "
            f"{shown(process.memory_mb, ' MB')}"
        )
    if reading.error is not None:
        print(f"npu-smi failed: {reading.error}")
    if reading.kind is Kind.NEITHER:
        print("neither a table of npu-smi info nor one of its failure messages")
    for line in reading.unread:
        print(f"unread: {line}")
