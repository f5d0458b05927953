"""The version tables of the vendor's pages, Markdown or HTML, as what they say: which versions pair, which do not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Literal

MOST_CELLS = 200_000  # of a table with its spans filled in; the vendor's longest has some thousands
MOST_SPAN = 1000
LONGEST_CELL = 2000  # characters
WIDEST = 100  # columns of a table in Markdown

# Every repetition is bounded, or ends at what begins the next one: a page is read in time that grows with its size.

_VERSION = re.compile(
    r"\d{1,4}\.\d{1,4}(?:\.(?:(?:rc|t|post|dev)?\d{1,8}|x)){0,6}(?:rc\d{1,4})?(?:[.-](?:alpha|beta)[.\d]{0,8})?",
    re.IGNORECASE,
)
_PRERELEASE = re.compile("alpha|beta", re.IGNORECASE)
_PYTHON = re.compile(r"(?<![\d.])3\.\d{1,2}(?!\d)")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_RULER = re.compile(r"\s*:?-+:?\s*")


@dataclass
class Table:
    """A table with its spans filled in: the heading of each column, from the top down, and the rows below."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Package:
    """A row that says what a torch-npu package goes with; what it does not say is empty."""

    torch_npu: str
    torch: str
    line: str
    cann: str
    pythons: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """TorchNPU and CANN ("line"), or CANN and a driver ("driver"): whether they work together."""

    kind: Literal["line", "driver"]
    version: str
    other: str
    works: bool


@dataclass(frozen=True)
class Pythons:
    """The Pythons of a torch release."""

    torch: str
    pythons: tuple[str, ...]


Statement = Package | Cell | Pythons


def statements(text: str) -> list[Statement]:
    """What the version tables of a page say; other tables say nothing here.

    Raises:
        ValueError: its tables are larger than any page's.
    """
    return [statement for table in tables(text) for statement in _statements(table)]


def tables(text: str) -> list[Table]:
    """Every table of a page, those in Markdown first."""
    page = _Page()
    page.feed(text)
    page.close()
    return [*_markdown_tables(text), *(table for grid in page.grids if (table := _table(grid)) is not None)]


def _statements(table: Table) -> Iterator[Statement]:
    columns = {name: place for place, heading in enumerate(table.headings) if (name := _named(heading))}
    if {"package", "cann"} <= columns.keys():
        yield from _packages(table, columns)
    elif set(columns) == {"torch", "python"}:
        for row in table.rows:
            if (torch := _first(row[columns["torch"]])) and (pythons := _pythons(row[columns["python"]])):
                yield Pythons(torch, pythons)
    elif table.headings and _named(table.headings[0]) in ("line", "cann"):
        yield from _cells(table)


def _named(heading: str) -> str:
    """What a column holds, by its heading in Chinese or English; empty where it holds no version that is compared."""
    text = re.sub(r"\s+|支持的|supported", "", heading.casefold()).replace("ascendextensionforpytorch", "torchnpu")
    if "分支" in text or "branch" in text:
        return "branch"
    if text in ("extension版本", "extensionversion"):
        return "package"
    if "torchnpu" in text:
        return "package" if "安装包" in text or "package" in text else "line"
    if text in ("pytorch版本", "pytorchversion", "pytorch"):
        return "torch"
    if "hdk" in text:
        return "driver"
    if text in ("cann版本", "cannversion", "cann"):
        return "cann"
    return "python" if text in ("python版本", "pythonversion", "python") else ""


def _packages(table: Table, columns: dict[str, int]) -> Iterator[Package]:
    """A package a row. An empty CANN is that of the row above; packages for an alpha or a beta of CANN are left out."""
    cann = ""
    for row in table.rows:
        package, cann = _first(row[columns["package"]]), _release(row[columns["cann"]]) or cann
        if not package or not cann or _PRERELEASE.search(cann):
            continue
        line = _first(row[columns["line"]]) if "line" in columns else ""
        if not line and "branch" in columns:
            line = _first(row[columns["branch"]].rpartition("-")[2])
        torch = _first(row[columns["torch"]]) if "torch" in columns else ""
        yield Package(package, torch, line, cann, _pythons(row[columns["python"]]) if "python" in columns else ())


def _cells(table: Table) -> Iterator[Cell]:
    """A matrix of Y and N with versions as headings, or a column that lists the drivers of each CANN."""
    first = _named(table.headings[0])
    kind: Literal["line", "driver"] = "line" if first == "line" else "driver"
    other = "cann" if first == "line" else "driver"
    for place, heading in enumerate(table.headings[1:], 1):
        head = _named(_VERSION.sub("", heading).replace("/", ""))
        if head != other:
            continue
        headed = _VERSION.findall(heading)
        for row in table.rows:
            version, text = _release(row[0]), row[place].strip().casefold()
            if not version:
                continue
            if headed and text in ("y", "n", "yes", "no", "√", "×"):
                yield from (Cell(kind, version, each, text in ("y", "yes", "√")) for each in headed)
            elif not headed:
                yield from (Cell(kind, version, each, True) for each in _VERSION.findall(row[place]))


def _first(text: str) -> str:
    """The first version in a text."""
    match = _VERSION.search(text)
    return match[0] if match else ""


def _release(text: str) -> str:
    """The first version that is no alpha or beta ("商用版:8.0.0 社区版:8.0.0.beta1"); the first one where all are."""
    versions = _VERSION.findall(text)
    return next((each for each in versions if not _PRERELEASE.search(each)), _first(text))


def _pythons(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_PYTHON.findall(text)))


# ---- tables ----


def _markdown_tables(text: str) -> Iterator[Table]:
    """Tables of lines with bars, outside code blocks; the second line of each rules off its headings."""
    block: list[list[str]] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        fenced ^= stripped.startswith("```")
        if stripped.startswith("|") and not fenced:
            block.append([_plain(cell) for cell in re.split(r"(?<!\\)\|", stripped.strip("|"))])
            continue
        if len(block) > 1 and len(block[0]) <= WIDEST and all(_RULER.fullmatch(cell) for cell in block[1]):
            width = len(block[0])
            yield Table(block[0], [(row + [""] * width)[:width] for row in block[2:]])
        block = []


def _plain(cell: str) -> str:
    """A cell of Markdown as its text."""
    text = _TAG.sub("", _BREAK.sub("\n", _LINK.sub(r"\1", cell[:LONGEST_CELL])))
    return re.sub(r"[*`\\]", "", text).strip()


@dataclass
class _HtmlCell:
    head: bool
    across: int
    down: int
    text: str = ""


@dataclass
class _HtmlRow:
    group: int  # which thead or tbody of the table it is in: no cell reaches beyond it
    head: bool
    cells: list[_HtmlCell] = field(default_factory=list)


class _Page(HTMLParser):
    """Collects the tables of a page, each as its rows of cells. A table inside a cell is text of that cell."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.grids: list[list[_HtmlRow]] = []
        self._depth = 0
        self._group = 0
        self._head = False
        self._cell: _HtmlCell | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._depth += 1
            if self._depth == 1:
                self.grids.append([])
                self._head = False
        elif self._depth != 1:
            return
        elif tag in ("thead", "tbody", "tfoot"):
            self._group += 1
            self._head = tag == "thead"
        elif tag == "tr":
            self.grids[-1].append(_HtmlRow(self._group, self._head))
        elif tag in ("td", "th") and self.grids[-1]:
            spans = dict(attributes)
            self._cell = _HtmlCell(tag == "th", _span(spans.get("colspan")), _span(spans.get("rowspan")))
            self.grids[-1][-1].cells.append(self._cell)
        elif tag in ("br", "p", "li") and self._cell is not None:
            self._cell.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self._depth:
            self._depth -= 1
        if tag in ("td", "th", "tr", "table"):
            self._cell = None
        if tag == "thead":
            self._group += 1
            self._head = False

    def handle_data(self, data: str) -> None:
        if self._cell is not None and len(self._cell.text) < LONGEST_CELL:
            self._cell.text += data[:LONGEST_CELL]


def _span(text: str | None) -> int:
    return min(max(int(text), 1), MOST_SPAN) if text and text.isascii() and text.isdigit() and len(text) < 8 else 1


def _table(rows: Sequence[_HtmlRow]) -> Table | None:
    """Rows of cells as a grid, spans filled in. Headings are the rows of thead, or the first ones of th alone."""
    grid: list[dict[int, str]] = [{} for _row in rows]
    ends = {row.group: place + 1 for place, row in enumerate(rows)}
    count = 0
    for down, row in enumerate(rows):
        across = 0
        for cell in row.cells:
            while across in grid[down]:
                across += 1
            for below in range(down, min(down + cell.down, ends[row.group])):
                for place in range(across, across + cell.across):
                    grid[below].setdefault(place, cell.text.strip())
                    count += 1
            if count > MOST_CELLS:
                raise ValueError("a table with too many cells")
            across += cell.across
    width = max((max(cells, default=-1) + 1 for cells in grid), default=0)
    if width * len(rows) > MOST_CELLS:
        raise ValueError("a table with too many cells")
    filled = [[cells.get(place, "") for place in range(width)] for cells in grid]
    heads = 0
    while heads < len(rows) and (rows[heads].head or all(cell.head for cell in rows[heads].cells)):
        heads += 1
    if not heads or not width:
        return None
    headings = [" ".join(dict.fromkeys(row[place] for row in filled[:heads] if row[place])) for place in range(width)]
    return Table(headings, filled[heads:])
