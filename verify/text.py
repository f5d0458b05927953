"""Text from logs, reasons and records, made fit to be shown."""

from __future__ import annotations

import os


def one_line(text: str) -> str:
    r"""`text` on one printable line: control, direction and surrogate characters spelled out (\x1b)."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)


def without_home(text: str) -> str:
    """`text` with the home folder of whoever runs this as `~`. In containers it may be `/`, or none at all."""
    home = os.environ.get("HOME", "").rstrip("/")
    return text.replace(home, "~") if home else text
