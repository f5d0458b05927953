"""Text from records made safe for Markdown: whatever a log or a reason holds, it stays text and stays in its cell."""

from __future__ import annotations

import re
from collections.abc import Iterable

from verify.run.text import one_line, printable

LOG_LINES = 20  # of a failed check's log; the record holds all that was kept
LOG_WIDTH = 300
LONGEST = 4000  # characters of one value: a document is read, and a record from elsewhere may hold megabytes

_MARKS = re.compile(r"[\\`*<\[\]|~$&]|(?<![^\W_])_|_(?![^\W_])")  # GFM's inline marks; `_` inside a word is none


def clipped(text: str) -> str:
    """`text`, cut where it is longer than a reader would read."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def cell(value: object) -> str:
    """`value` as plain text that is safe in a table cell and in a sentence."""
    return _MARKS.sub(r"\\\g<0>", one_line(clipped(str(value))))


def code(value: object) -> str:
    """`value` as inline code. Where backticks cannot hold it inside a table, HTML's code element does."""
    text = one_line(clipped(str(value)))
    if not set("`|\\") & set(text):
        return f"`{text}`" if text else ""
    return "<code>" + re.sub(r"[^\w\s./:=,-]", lambda mark: f"&#{ord(mark[0])};", text) + "</code>"


def tail(lines: Iterable[str]) -> list[str]:
    """The last lines of a log, indented as they were, each of bounded width; blank ones are dropped."""
    kept = [line for text in lines for line in text.splitlines() if line.strip()]
    return [printable(line.expandtabs())[:LOG_WIDTH].rstrip() for line in kept[-LOG_LINES:]]


def block(lines: Iterable[object], language: str) -> str:
    """Lines as a fenced block, printable, with a fence longer than any run of backticks inside."""
    text = "".join(f"{printable(clipped(str(line)))}\n" for line in lines)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}{language}\n{text}{fence}"
