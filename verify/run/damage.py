"""JSON into typed values, and what is wrong with JSON that does not fit: which field, what it should be, what it is."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from env.language import Message, _

T = TypeVar("T")

SHOWN = 40  # characters of a value that does not fit

_PLACED = re.compile(r"(?P<problem>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<place>\d+)\]|\[\.\.\.\]")


class DamageError(ValueError):
    """A value that does not fit its type."""

    def __init__(self, problem: Message) -> None:
        super().__init__(problem)
        self.problem = problem


def convert(value: Any, kind: type[T], where: str = "") -> T:
    """`value`, as JSON gives it, as a `kind`; `where` is the field that it stands in.

    Raises:
        DamageError: it does not fit.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=decode_message)
    except msgspec.ValidationError as error:
        raise DamageError(_worded(str(error), value, where)) from error


def decode_message(kind: type, value: Any) -> Any:
    """For msgspec: a message as `Message.as_json` writes it."""
    if kind is Message:
        return Message.from_json(value)
    raise NotImplementedError(kind)


def encode_message(value: Any) -> Any:
    """For msgspec: the inverse, and what numpy counts among floats, which a message's fields may hold.

    Raises:
        TypeError: the value is none that JSON has.
    """
    if isinstance(value, Message):
        return value.as_json()
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is none of JSON's types")


def _worded(text: str, value: Any, where: str) -> Message:
    """An error of msgspec in the words of a reader of records."""
    placed = _PLACED.fullmatch(text)
    assert placed is not None  # every text does
    problem, path = placed["problem"], placed["path"] or ""
    field = f"{where}{path}".strip(".")
    if lacking := _FIELD.fullmatch(problem):
        name = f"{field}.{lacking['name']}".strip(".")
        if lacking["how"] == "missing required":
            return _("{field} is missing", field=name)
        return _("{field} is unknown", field=name)
    try:
        there = json.dumps(_at(value, path), ensure_ascii=False)
    except LookupError:
        return _("{field}: {problem}", field=field, problem=problem)
    if len(there) > SHOWN:
        there = there[: SHOWN - 1] + "…"
    return _("{field} is {value}: {problem}", field=field or "it", value=there, problem=problem)


def _at(value: Any, path: str) -> Any:
    """What stands at a path as msgspec writes it.

    Raises:
        LookupError: it leads through an object whose key msgspec does not name.
    """
    for step in _STEP.finditer(path):
        if step["name"] is None and step["place"] is None:
            raise LookupError(path)
        value = value[step["name"]] if step["name"] is not None else value[int(step["place"])]
    return value
