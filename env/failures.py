"""The catalogue of known failures (failures.toml): what each looks like in a log, its cause and its remedy."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CATALOGUE = Path(__file__).with_name("failures.toml")
SHORTEST_LITERAL = 4  # characters: shorter ones would stop the search at every other line

# Where literals begin, in order of preference. re looks for one given first character at memory speed, so the scan is
# as fast as these are few and rare. This order was found by measuring, on logs in the manner of vllm and of CANN.
FIRST_CHARACTERS = "_CEHSKx|uim7r5d8"
RARE_ENOUGH = (8, 6)  # by _rarity, first choice and second: "C_2." is 9, "device" 6

# A bare number is a code only where the log says so: step 107001 of a training run is none. So it has to follow a word
# of failure or the name of an API call, with nothing but "code is", "ret =" and the like between.
_FAILING = r"(?i:err(?:or|no)?|fail(?:ed|ure)?|exception|code)|[rR]et|return|错误|失败|错误码|返回码|返回值"
_API = r"\b(?:acl|rt|hal|drv|hccl|Hccl|dcmi)\w{0,40}[A-Z]\w{0,40}"
_BETWEEN = (
    r"(?:[\s:=.()\[\]\"'_-]|：|is|code|Code|ret|with|num|number|returns?|value|status|fail(?:ed|ure)?|error){0,16}"
)


def _code(number: str) -> str:
    return rf"(?:{_FAILING}|{_API}){_BETWEEN}\b{number}\b(?!\.\d)"


@dataclass(frozen=True)
class Sign:
    """One look of a failure: an expression, and what finds the lines worth trying it on.

    Every match holds `literal`, followed by what `rest`, the end of the expression, matches. The literal begins with
    one of FIRST_CHARACTERS where the expression has one to offer.
    """

    expression: str
    literal: str
    rest: str

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        return re.compile(self.expression.encode())


@dataclass(frozen=True)
class Failure:
    """One row of the catalogue. `after` names rows whose lines this one may match too, and which stand above it."""

    id: str
    component: str
    cause: str
    confirm: str
    fix: str
    source: str
    loose: bool  # the symptom is known, its exact wording is not
    after: tuple[str, ...]
    signs: tuple[Sign, ...]


@cache
def load_failures(path: Path = CATALOGUE) -> tuple[Failure, ...]:
    """The catalogue, most fundamental first.

    Raises:
        ValueError: an expression has no literal to search for. The file is ours, so this is a bug.
    """
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["failure"]
    return tuple(
        Failure(
            id=row["id"],
            component=row["component"],
            cause=row["cause"],
            confirm=row["confirm"],
            fix=row["fix"],
            source=row["source"],
            loose=row.get("wording") == "loose",
            after=tuple(row.get("after", ())),
            signs=(
                *(_sign(expression) for expression in row.get("match", ())),
                *(_sign(_code(code), code) for code in row.get("codes", ())),
            ),
        )
        for row in rows
    )


def _sign(expression: str, literal: str = "") -> Sign:
    """The sign for `expression`, searched by `literal` where that is given, else by the cheapest that it holds."""
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
    """Plain characters of an expression, and the index in the expression where they end."""

    text: str
    end: int


def literals(expression: str) -> list[Run]:
    """The runs of plain characters that every match of `expression` holds, in order.

    Groups, classes and optional characters are left out, so the answer may be too short but is never wrong.

    Raises:
        ValueError: the expression has alternatives outside of any group: those are separate entries of `match`.
    """
    runs = [Run("", 0)]
    for found in _PIECE.finditer(expression):
        piece, last = found.group(), runs[-1]
        if piece == "|":
            raise ValueError(f"alternatives outside of a group in {expression!r}")
        if piece[0] in "?*+{":
            # What is repeated leaves the run: its end has to be where the repeated character starts.
            if last.text and last.end == found.start():
                width = 2 if expression[found.start() - 2 : found.start()] == "\\" + last.text[-1] else 1
                runs[-1] = Run(last.text[:-1], last.end - width)
            runs.append(Run("", 0))
        elif len(piece) == 1 and piece not in "^$.":
            runs[-1] = Run(last.text + piece, found.end())
        elif len(piece) == 2 and piece[0] == "\\" and not piece[1].isalnum():
            runs[-1] = Run(last.text + piece[1], found.end())
        else:
            runs.append(Run("", 0))
    return [run for run in runs if run.text]


_CLASS = r"\[\^?\]?(?:\\.|[^\]])*\]"
_INSIDE = rf"(?:\\.|{_CLASS}|[^()\[\]\\])*"
_GROUP = rf"\({_INSIDE}(?:\({_INSIDE}(?:\({_INSIDE}\){_INSIDE})*\){_INSIDE})*\)"  # three deep
_PIECE = re.compile(rf"\\.|{_CLASS}|{_GROUP}|\{{[\d,]+\}}|.", re.DOTALL)
