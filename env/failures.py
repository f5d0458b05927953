"""The catalogue of known failures (failures.toml): what each looks like in a log, its cause and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from env.language import Message
from env.log_search import Sign, sign
from env.toml import load_toml

CATALOGUE = Path(__file__).with_name("failures.toml")

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
class Failure:
    """One row of the catalogue. `after` names rows whose lines this one may match too, and which stand above it."""

    id: str
    component: str
    cause: Message
    confirm: Message
    fix: Message
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
            after=tuple(row.get("after", ())),
            signs=(
                *(sign(expression) for expression in row.get("match", ())),
                *(sign(_code(code), code) for code in row.get("codes", ())),
            ),
        )
        for row in rows
    )
