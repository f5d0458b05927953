"""The catalogue of known failures (failures.toml): what each looks like in a log, its cause and its remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from env.codes import API, BETWEEN, FAILING
from env.language import Message
from env.log_search import Sign, sign
from env.toml import load_toml

CATALOGUE = Path(__file__).with_name("failures.toml")


def _code(number: str) -> str:
    return rf"(?:{FAILING}|{API}){BETWEEN}\b{number}\b(?!\.\d)"


_NAMED = re.compile(r"E[A-Z]\d{4}|E\d{5}|\d{6}|0x7\d{6}|-8\d{3}")


@dataclass(frozen=True)
class Failure:
    """One row of the catalogue. `after` names rows whose lines this one may match too, and which stand above it."""

    id: str
    component: str
    cause: Message
    confirm: Message
    fix: Message
    source: str
    loose: bool = False  # the symptom is known, its exact wording is not
    open: bool = False  # seen with this cause, which nobody established
    echo: bool = False  # what is printed because of something else
    after: tuple[str, ...] = ()
    covers: frozenset[str] = frozenset()  # the vendor's codes that this row explains better than the table of codes
    signs: tuple[Sign, ...] = ()  # what a line is searched for
    codes: tuple[str, ...] = ()  # and the vendor's numbers, which env/codes.py finds

    @property
    def expressions(self) -> tuple[re.Pattern[bytes], ...]:
        """All that a line of this row may match."""
        numbers = (re.compile(_code(code).encode()) for code in self.codes)
        return (*(sign.pattern for sign in self.signs), *numbers)


@cache
def load_failures(path: Path = CATALOGUE) -> tuple[Failure, ...]:
    """The catalogue, most fundamental first.

    Raises:
        ValueError: an expression has no literal to search for. The file is ours, so this is a bug.
    """
    rows: list[dict[str, Any]] = load_toml(path)["failure"]
    return tuple(
        Failure(
            id=row["id"],
            component=row["component"],
            cause=Message(row["cause"]),
            confirm=Message(row["confirm"]),
            fix=Message(row["fix"]),
            source=row["source"],
            loose=row.get("wording") == "loose",
            open=row.get("cause-is") == "open",
            echo=row.get("echo", False),
            after=tuple(row.get("after", ())),
            covers=frozenset(
                (*row.get("codes", ()), *row.get("covers", ()), *_NAMED.findall(" ".join(row.get("match", ()))))
            ),
            signs=tuple(sign(expression) for expression in row.get("match", ())),
            codes=tuple(row.get("codes", ())),
        )
        for row in rows
    )
