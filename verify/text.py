"""Text from logs, reasons and records, made fit to be shown."""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""`text` on one printable line: control, direction and surrogate characters spelled out (\x1b)."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)
