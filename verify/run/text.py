"""Text from logs, reasons and records, made fit to be shown."""

from __future__ import annotations

import os

from env.errors import BundleError
from env.language import Message, _


def printable(text: str) -> str:
    r"""`text` with control, direction and surrogate characters spelled out (\x1b); every space is a plain one."""
    return "".join(
        " " if c.isspace() else c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """`text` on one printable line, its words one space apart."""
    return printable(" ".join(text.split()))


def without_home(text: str) -> str:
    """`text` with the home folder of whoever runs this as `~`. In containers it may be `/`, or none at all."""
    home = os.environ.get("HOME", "").rstrip("/")
    return text.replace(home, "~") if home else text


def error_message(error: BundleError) -> Message:
    """What happened, the likely cause and the next command, as `str(error)` has them."""
    if error.why and error.next:
        return _("{what}\n  why:  {why}\n  next: {next}", what=error.what, why=error.why, next=error.next)
    if error.why:
        return _("{what}\n  why:  {why}", what=error.what, why=error.why)
    if error.next:
        return _("{what}\n  next: {next}", what=error.what, next=error.next)
    return error.what if isinstance(error.what, Message) else Message(error.what)
