"""Find the known failures in a log of any size, most fundamental first: cause, how to confirm it, fix, source.

One pass in blocks of constant size. Searches that begin with a literal, one or a few for every failure, find the few
lines worth looking at; only those meet the catalogue's own expressions.
"""

from __future__ import annotations

import argparse
import codecs
import gzip
import io
import json
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from env.errors import InputError
from env.failures import Failure, Sign, load_failures

NOTHING_FOUND = 3  # exit code of `python -m env doctor`

BLOCK = 1 << 20
REACH = 4096  # bytes of a line looked at on each side of a literal; only damaged logs have longer lines
_ANSI = re.compile(rb"\x1b\[[0-9;]{0,20}[A-Za-z]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")


class Readable(Protocol):
    """A binary stream, as far as a scan needs it."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Diagnosis:
    """A known failure found in a log: the line (from 1) that shows it first, and that line's text, shortened."""

    failure: Failure
    line: int
    text: str

    def as_dict(self) -> dict[str, object]:
        """The fixed JSON interface of `python -m env doctor --json`."""
        return {"id": self.failure.id, "line": self.line, "cause": self.failure.cause, "fix": self.failure.fix}


def diagnose(log: str | Iterable[str]) -> list[Diagnosis]:
    """The known failures of a log held in memory, as text or as lines; most fundamental first."""
    text = log if isinstance(log, str) else "\n".join(line.rstrip("\r\n") for line in log)
    return scan(io.BytesIO(text.encode("utf-8", "replace")))


def scan(stream: Readable) -> list[Diagnosis]:
    """The known failures of a log read to its end in constant memory; most fundamental first."""
    catalogue = load_failures()
    search = _Search(catalogue)
    buffer, begin, lines = b"", 0, 0  # begin: what stands before it was looked at; lines: newlines before the buffer
    while True:
        block = stream.read(BLOCK)
        buffer += _ANSI.sub(b"", block)
        # What is too near the end waits for the next block, so that every literal has its whole line around it.
        end = max(begin, len(buffer) - REACH) if block else len(buffer)
        search.examine(buffer, begin, end, lines)
        if not block:
            return [search.found[failure.id] for failure in catalogue if failure.id in search.found]
        keep = max(0, end - REACH)
        lines += buffer.count(b"\n", 0, keep)
        buffer, begin = buffer[keep:], end - keep


class _Search:
    """What is still looked for, and what was found. A failure found in one block is not looked for in the next."""

    def __init__(self, catalogue: Sequence[Failure]) -> None:
        self.catalogue = {failure.id: failure for failure in catalogue}
        self.found: dict[str, Diagnosis] = {}
        self._build()

    def _build(self) -> None:
        self.signs: dict[int, list[tuple[bytes, str, Sign]]] = defaultdict(list)  # by the first byte of the literal
        tails: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for name, failure in self.catalogue.items():
            for sign in failure.signs if name not in self.found else ():
                literal = sign.literal.encode()
                self.signs[literal[0]].append((literal, name, sign))
                tails[sign.literal[0]][sign.literal].add(sign.rest)
        self.searches = [re.compile(any_of(group).encode(), re.MULTILINE) for group in tails.values()]

    def examine(self, buffer: bytes, begin: int, end: int, lines: int) -> None:
        """Look at every sign whose literal starts in buffer[begin:end]; `lines` newlines stand before the buffer."""
        first: dict[str, int] = {}
        for search in self.searches:
            hit = search.search(buffer, begin)
            while hit and (position := hit.start()) < end:
                text = b""
                for literal, name, sign in self.signs[buffer[position]]:
                    if first.get(name, end) > position and buffer.startswith(literal, position):
                        text = text or _line(buffer, position)
                        if sign.pattern.search(text):
                            first[name] = position
                hit = search.search(buffer, position + 1)  # not hit.end(): another literal may begin inside this one
        for name, position in first.items():
            number = lines + buffer.count(b"\n", 0, position) + 1
            self.found[name] = Diagnosis(self.catalogue[name], number, _shown(_line(buffer, position)))
        if first:
            self._build()


def _line(buffer: bytes, position: int) -> bytes:
    """The line around `position`; one longer than REACH on a side is cut there, so as not to look whole."""
    start = buffer.rfind(b"\n", max(0, position - REACH), position) + 1
    stop = buffer.find(b"\n", position, position + REACH)
    head, tail = b"", b""
    if not start and position > REACH:
        start, head = position - REACH, b"... "
    if stop < 0:
        stop = min(len(buffer), position + REACH)
        tail = b" ..." if stop < len(buffer) else b""
    return head + buffer[start:stop].rstrip(b"\r") + tail


def _shown(line: bytes) -> str:
    text = _UNPRINTABLE.sub(" ", line.decode("utf-8", "replace")).strip()
    return text if len(text) <= 200 else f"{text[:200]}..."


def any_of(tails: Mapping[str, Iterable[str]]) -> str:
    """An expression for any of the literals (the keys) with one of its rests (expressions) behind it.

    It is a tree by characters, because re tries plain alternatives one by one.
    """
    tree: dict[str, Any] = {}
    for literal, rests in tails.items():
        node = tree
        for character in literal:
            node = node.setdefault(character, {})
        node[""] = sorted(rests)
    return _branches(tree)


def _branches(node: dict[str, Any]) -> str:
    parts = [re.escape(character) + _branches(below) for character, below in sorted(node.items()) if character]
    parts += node.get("", ())
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m env doctor",
        description="Find the known failures in a log: cause, how to confirm it, fix, source; inner causes first.",
        epilog=f"Exit status: 0 something was found, {NOTHING_FOUND} nothing was.",
    )
    parser.add_argument("file", help='the log, plain or gzipped, or "-" for standard input')
    parser.add_argument("--json", action="store_true", help="print id, line, cause and fix of each as JSON")
    arguments = parser.parse_args(argv)
    diagnoses = _scan_file(arguments.file)
    if arguments.json:
        print(json.dumps([diagnosis.as_dict() for diagnosis in diagnoses], ensure_ascii=False, indent=2))
    elif diagnoses:
        print("\n\n".join(describe(diagnosis) for diagnosis in diagnoses))
    else:
        print("no known failure in this log")
    return 0 if diagnoses else NOTHING_FOUND


def describe(diagnosis: Diagnosis) -> str:
    """A diagnosis in full, for people."""
    failure = diagnosis.failure
    cause = "likely" if failure.loose else "cause"
    return "\n".join(
        (
            f"{failure.id} ({failure.component}), line {diagnosis.line}",
            f"  seen:    {diagnosis.text}",
            f"  {cause + ':':<9}{failure.cause}",
            f"  confirm: {failure.confirm}",
            f"  fix:     {failure.fix}",
            f"  source:  {failure.source}",
        )
    )


def _scan_file(file: str) -> list[Diagnosis]:
    """Scan a file, or standard input for "-".

    Raises:
        InputError: the file cannot be read, or is a damaged gzip.
    """
    try:
        if file == "-":
            return scan(_decoded(sys.stdin.buffer))
        with Path(file).open("rb") as stream:
            return scan(_decoded(stream))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"cannot unpack {file}: {error}", next=f"gzip -t {file}") from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", next=f"ls -l {file}") from error


def _decoded(stream: BinaryIO) -> Readable:
    """`stream` unpacked if it is gzip, and as UTF-8 if it says that it is UTF-16 (as PowerShell redirects)."""
    assert isinstance(stream, io.BufferedReader)  # what open() and sys.stdin.buffer are
    source: io.BufferedReader | gzip.GzipFile = stream
    if source.peek(2)[:2] == b"\x1f\x8b":
        source = gzip.GzipFile(fileobj=source)
    if source.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return codecs.EncodedFile(source, "utf-8", "utf-16", errors="replace")
    return source
