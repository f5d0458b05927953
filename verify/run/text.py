"""Text from logs, reasons and records, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` with control, direction and surrogate characters spelled out (\x1b); every space is a plain one."""
    return "".join(
        " " if c.isspace() else c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """`text` on one printable line, its words one space apart."""
    return printable(" ".join(text.split()))
