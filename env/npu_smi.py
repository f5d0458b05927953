"""Read what npu-smi printed: the table of `npu-smi info` in any of its layouts, the answers to -l, -m and -t TOPIC, or
the message that it printed instead.

Nothing here raises on any text: a line that cannot be read is returned as unread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from env.npu_smi_reading import Chip, Kind, Process, Reading, version
from env.npu_smi_rows import Banner, Header, Heads, Lower, Upper, make_chip, read_row
from env.npu_smi_topics import Topics

__all__ = ["Chip", "Kind", "Process", "Reading", "parse"]

# What npu-smi, or the shell in its place, prints when there is no table to print. Wordings: the captured failures
# (dcmi -8005 and -8020, driver incomplete, card id, unsupported query), the loader's and the shells' own messages.
_FAILURES = re.compile(
    r"""\bdcmi\b.{0,80}\bfailed | \bret\ is\ -8[0-9]{3}\b | \bDrvMng\w{1,60}\ failed
    | \bbecause\ the\ device\ is\ used\b
    | \bdriver\ package\ may\ not\ be\ completely\ installed
    | \bInvalid\ card\ id\b | \bError\ parameter\ of\ - | ^Usage:\ npu-smi\b
    | \bThis\ device\ does\ not\ support\b | ^There\ is\ no\ NPU\ card\ on\ this\ server
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

_LONGEST_ROW = 1000  # characters; the widest real row has 116
_UNREAD_WIDTH = 200
_UNREAD_LINES = 200


def parse(text: str) -> Reading:
    """Read `text`. Never raises, whatever it holds."""
    table, topics = _Table(), Topics()
    failures: list[str] = []
    for number, raw in enumerate(_LINE_END.split(text)):
        line = _ANSI.sub("", raw).strip(" \t\v\f\0\ufeff")
        short = len(line) <= _LONGEST_ROW
        if not line or (short and _BORDER.match(line)):
            continue
        if short and line.startswith("|"):
            table.take(number, line)
        elif short and _FAILURES.search(line):
            failures.append(line)
        elif not (short and topics.take(number, line)):
            table.unread[number] = line
            if not line.strip(".\u2026"):
                table.drop_upper()  # rows were left out here: what follows belongs to another chip
    return _reading(table, topics, failures)


class _Table:
    """The rows read so far, and what the headers tell of the rows to come."""

    def __init__(self) -> None:
        self.banner: Banner | None = None
        self.chips: dict[tuple[int, int], Chip] = {}
        self.processes: dict[tuple[int | None, int | None, int], Process] = {}
        self.unread: dict[int, str] = {}  # by place in the text
        self.headers = 0
        self.heads = Heads()
        self.upper: tuple[int, str, Upper] | None = None  # waits for the chip's second row: its place, its line

    def take(self, number: int, line: str) -> None:
        """Read one row, and change the table by what it is: the one place that does."""
        cells = [cell.strip() for cell in line[1:].split("|")]
        cut_off = cells[-1] != ""
        if cut_off:
            cells[-1] = ""  # it may end in the middle of a number, so it is not believed
        else:
            cells.pop()
        row = read_row(cells, self.heads, self.upper[2] if self.upper else None)
        match row:
            case Banner():
                self.banner = row
            case Header():
                self._take_header(row)
            case Upper():
                self.drop_upper()
                self.upper = number, line, row
            case Lower():
                self._take_chip(number, line, row)
            case Process():
                self.processes.setdefault((row.npu, row.chip, row.pid), row)
        if cut_off or row is None or (isinstance(row, (Upper, Lower)) and not row.readable):
            self.unread[number] = line

    def _take_header(self, header: Header) -> None:
        self.headers += 1
        if header.upper:
            self.drop_upper()
        self.heads = Heads(
            header.upper or self.heads.upper,
            header.lower or self.heads.lower,
            header.process_columns or self.heads.process_columns,
        )

    def _take_chip(self, number: int, line: str, lower: Lower) -> None:
        """Make a chip of the row that waits and its second one."""
        assert self.upper is not None  # a lower row is read only after an upper one
        (above_number, above, upper), self.upper = self.upper, None
        if (upper.npu, lower.chip) in self.chips:
            # A second table in the text (a loop, `watch`): chips are counted once.
            self.unread.update(((above_number, above), (number, line)))
            return
        self.chips[upper.npu, lower.chip] = make_chip(upper, lower)

    def drop_upper(self) -> None:
        """The second row of a chip did not come: the first one was not read."""
        if self.upper is not None:
            number, line, _row = self.upper
            self.unread[number] = line
            self.upper = None


def _reading(table: _Table, topics: Topics, failures: Sequence[str]) -> Reading:
    """A table, where there is one; else the answer to an option; else a failure, or nothing known."""
    table.drop_upper()
    chips, processes = tuple(table.chips.values()), tuple(table.processes.values())
    driver = table.banner.driver_version if table.banner else None
    rows = bool(chips or processes)
    kind = None if rows else topics.kind()
    if kind is not None:
        chips, processes = topics.chips(), tuple(topics.processes)
        driver = driver or topics.driver_version()
    else:
        table.unread.update(topics.taken)
    if rows or (kind is None and table.headers and not table.unread and not failures):
        kind = Kind.TABLE
    elif kind is None:
        kind = Kind.FAILURE if failures else Kind.NEITHER
    return Reading(
        kind=kind,
        tool_version=version(table.banner.tool_version) if table.banner else None,
        driver_version=version(driver),
        chips=chips,
        processes=processes,
        error="; ".join(failures[:10]) or None,
        unread=_shortened([line for _number, line in sorted(table.unread.items())]),
    )


def _shortened(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [line if len(line) <= _UNREAD_WIDTH else f"{line[:_UNREAD_WIDTH]}..." for line in lines[:_UNREAD_LINES]]
    if len(lines) > _UNREAD_LINES:
        kept.append(f"... and {len(lines) - _UNREAD_LINES} more lines")
    return tuple(kept)
