r"""What reaches a terminal: text alone, whatever it is made of, and a clear ending where nothing can be written.

A name in a captured tree, a checkpoint or a transcript may hold escapes that retitle a window, clear it, or turn the
order of letters around (Unicode TR 36, "Bidirectional text spoofing"; CWE-150). A program's streams spell those out as
JSON does, \u001b, so that what `--json` prints stays the same value.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any, TextIO

# C0 but for tab and line feed, DEL and C1, marks of direction and their isolates, separators of lines, surrogates, BOM.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def shown(text: str) -> str:
    r"""`text` with every character that steers a terminal spelled out: \u001b."""
    return _UNSHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class UnwritableError(Exception):
    """What is to be printed cannot be written: a full disk behind a redirection, say. `reason` is the system's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PlainStream(io.TextIOBase):
    """A text stream that writes `shown` text to another one; all else is the other one's.

    Raises:
        UnwritableError: of `write` and `flush`.
        BrokenPipeError: the reader left.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with _told():
            self.stream.write(shown(text))
        return len(text)

    def flush(self) -> None:
        with _told():
            self.stream.flush()


class _told(contextlib.AbstractContextManager[None]):  # noqa: N801 (a context, used as a verb)
    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise UnwritableError(error.strerror or str(error)) from error


def raw(stream: TextIO) -> TextIO:
    """The stream behind a plain one, for a program's own escapes: a live table."""
    return stream.stream if isinstance(stream, PlainStream) else stream


def take_streams() -> None:
    """Have this program's stdout and stderr show text alone; one that is closed swallows it.

    An encoding that lacks a character spells it out, too: a middle dot must not fail a run that is verified.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by `>&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (for as long as it runs)
        elif not isinstance(stream, PlainStream):
            with contextlib.suppress(AttributeError, ValueError, io.UnsupportedOperation):
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, PlainStream(stream))


def give_up(stream: TextIO) -> None:
    """Point a stream that cannot be written at the null device: the flush at exit would fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), raw(stream).fileno())
