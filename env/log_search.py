"""The first line of a log, of any size, that each of many expressions matches; the catalogue's search.

Contract: one pass in blocks of BLOCK bytes, memory that does not grow with the log, no line too long, no byte refused.
An expression is tried only on lines that hold its literal: characters that every match must hold, as `sign` picks them.
It sees one line, of which REACH bytes on each side of the literal; a longer line is cut there, and marked so.
What matches in two places is reported at the first; what is reported is not looked for in later blocks.
Measured by `nox -s bench-doctor`: re alone, pattern by pattern or as one alternation, is many times slower.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, Protocol

BLOCK = 1 << 20
REACH = 4096  # bytes of a line looked at on each side of a literal; only damaged logs have longer lines
SHORTEST_LITERAL = 4  # characters: shorter ones would stop the search at every other line

# Where literals begin, in order of preference. re looks for one first character at memory speed, so the scan is
# as fast as these are few and rare. This order was measured, on logs in the manner of vllm and of CANN.
FIRST_CHARACTERS = "_CEHSKx|uim7r5d8"
RARE_ENOUGH = (8, 6)  # by _rarity, first choice and second: "C_2." is 9, "device" 6

_ANSI = re.compile(rb"\x1b\[[0-9;]{0,20}[A-Za-z]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")
_SHOWN = 200  # characters of a line in an answer
_HEAD, _BEFORE = 70, 30  # of them from the head, and before the place that matters, in a line that is longer

# A piece of an expression that holds no literal, or one character that is one.
_CLASS = r"\[\^?\]?(?:\\.|[^\]])*\]"
_INSIDE = rf"(?:\\.|{_CLASS}|[^()\[\]\\])*"
_GROUP = rf"\({_INSIDE}(?:\({_INSIDE}(?:\({_INSIDE}\){_INSIDE})*\){_INSIDE})*\)"  # three deep
_PIECE = re.compile(rf"\\.|{_CLASS}|{_GROUP}|\{{[\d,]+\}}|.", re.DOTALL)


class Readable(Protocol):
    """A binary stream, as far as a scan needs it."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Sign:
    """An expression, and what finds the lines worth trying it on.

    Every match holds `literal`, followed by what `rest`, the end of the expression, matches. The literal begins with
    one of FIRST_CHARACTERS where the expression has one to offer.
    """

    expression: str
    literal: str
    rest: str

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        return re.compile(self.expression.encode())


class Hit(NamedTuple):
    """The first line (from 1) that a name's signs match, and its text, printable and shortened."""

    line: int
    text: str


class Scanner(Protocol):
    """What else looks at a log while it is read, block by block."""

    def examine(self, buffer: bytes, begin: int, end: int, lines: int) -> None: ...


def first_lines(
    stream: Readable, signs: Mapping[str, Sequence[Sign]], scanners: Sequence[Scanner] = ()
) -> dict[str, Hit]:
    """Read a log to its end; for each name one of whose signs matches, the first line where one does."""
    search = _Search(signs)
    buffer, begin, lines = b"", 0, 0  # begin: what stands before it was looked at; lines: newlines before the buffer
    while True:
        block = stream.read(BLOCK) or b""  # None: a file of the kernel's that has nothing to say yet
        if b"\\n" in block:  # a log inside JSON: its lines are one, its words whole
            block = block.replace(b"\\n", b"  ")
        buffer += _ANSI.sub(b"", block)
        # What is too near the end waits for the next block, so that every literal has its whole line around it.
        end = max(begin, len(buffer) - REACH) if block else len(buffer)
        for scanner in (search, *scanners):
            scanner.examine(buffer, begin, end, lines)
        if not block:
            return search.hits
        keep = max(0, end - REACH)
        lines += buffer.count(b"\n", 0, keep)
        buffer, begin = buffer[keep:], end - keep


class _Search:
    """The signs that are still looked for, and the hits."""

    def __init__(self, signs: Mapping[str, Sequence[Sign]]) -> None:
        self.signs = signs
        self.hits: dict[str, Hit] = {}
        self.stale = True  # the searches look for what was found, or are not made yet

    def _build(self) -> None:
        """One search for each first character of the literals that remain."""
        self.literals: dict[int, list[tuple[bytes, str, Sign]]] = defaultdict(list)  # by their first byte
        tails: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for name, signs in self.signs.items():
            for sign in signs if name not in self.hits else ():
                literal = sign.literal.encode()
                self.literals[literal[0]].append((literal, name, sign))
                tails[sign.literal[0]][sign.literal].add(sign.rest)
        self.searches = [re.compile(any_of(group).encode(), re.MULTILINE) for group in tails.values()]

    def examine(self, buffer: bytes, begin: int, end: int, lines: int) -> None:
        """Look at every sign whose literal starts in buffer[begin:end]; `lines` newlines stand before the buffer."""
        first: dict[str, int] = {}
        if self.stale:
            self._build()
        for search in self.searches:
            hit = search.search(buffer, begin)
            while hit and (position := hit.start()) < end:
                text = b""
                for literal, name, sign in self.literals[buffer[position]]:
                    if first.get(name, end) > position and buffer.startswith(literal, position):
                        text = text or line_at(buffer, position)
                        if sign.pattern.search(text):
                            first[name] = position
                hit = search.search(buffer, position + 1)  # not hit.end(): another literal may begin inside this one
        for name, position in first.items():
            self.hits[name] = hit_at(buffer, position, lines)
        self.stale = bool(first)


def hit_at(buffer: bytes, position: int, lines: int) -> Hit:
    """The line around a position, with its number; `lines` newlines stand before the buffer.

    Of a long line its head is shown (a log's time stands there) and what stands around the position.
    """
    line = line_at(buffer, position)
    start = buffer.rfind(b"\n", max(0, position - REACH), position) + 1
    if (start or position < REACH) and position - start > _HEAD + _SHOWN // 2:
        line = line[:_HEAD] + b" ... " + line[position - start - _BEFORE :]
    return Hit(lines + buffer.count(b"\n", 0, position) + 1, _shown(line))


def line_at(buffer: bytes, position: int) -> bytes:
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
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


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


def sign(expression: str, literal: str = "") -> Sign:
    """The sign for `expression`, searched by `literal` where one is named, else by the cheapest that it holds.

    Raises:
        ValueError: the expression has no literal of SHORTEST_LITERAL characters, or alternatives outside of a group.
    """
    runs = [run for run in literals(expression) if literal in run.text and len(run.text) >= SHORTEST_LITERAL]
    if not runs:
        raise ValueError(f"no literal of {SHORTEST_LITERAL} characters outside of groups in {expression!r}")
    for enough, first in product(RARE_ENOUGH, FIRST_CHARACTERS):
        tails = [Run(run.text[run.text.index(first) :], run.end) for run in runs if first in run.text]
        best = max(tails, key=_rarity, default=Run("", 0))
        if len(best.text) >= SHORTEST_LITERAL and _rarity(best) >= enough:
            return Sign(expression, best.text, expression[best.end :])
    best = max(runs, key=_rarity)
    return Sign(expression, best.text, expression[best.end :])


def _rarity(run: Run) -> int:
    """How much it takes a log to hold a literal by chance: capitals, digits and signs count more than small letters."""
    return sum(3 if letter.isupper() else 1 if letter.islower() else 2 * (letter != " ") for letter in run.text)


class Run(NamedTuple):
    """Literal characters of an expression, and the index in the expression where they end."""

    text: str
    end: int


def literals(expression: str) -> list[Run]:
    """The runs of literal characters that every match of `expression` holds, in order.

    Groups, classes and optional characters are left out, so the answer may be too short but is never wrong.

    Raises:
        ValueError: the expression has alternatives outside of any group: those are separate entries of `match`.
    """
    runs = [Run("", 0)]
    for match in _PIECE.finditer(expression):
        piece, last = match.group(), runs[-1]
        if piece == "|":
            raise ValueError(f"alternatives outside of a group in {expression!r}")
        if piece[0] in "?*+{":
            # What is repeated leaves the run: its end has to be where the repeated character starts.
            if last.text and last.end == match.start():
                width = 2 if expression[match.start() - 2 : match.start()] == "\\" + last.text[-1] else 1
                runs[-1] = Run(last.text[:-1], last.end - width)
            runs.append(Run("", 0))
        elif len(piece) == 1 and piece not in "^$.":
            runs[-1] = Run(last.text + piece, match.end())
        elif len(piece) == 2 and piece[0] == "\\" and not piece[1].isalnum():
            runs[-1] = Run(last.text + piece[1], match.end())
        else:
            runs.append(Run("", 0))
    return [run for run in runs if run.text]
