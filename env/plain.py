"""Dataclasses out of plain JSON: the inverse of `dataclasses.asdict`, with the place of what does not fit named."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def build(kind: type[T], value: Any) -> T:
    """Make a dataclass of plain JSON: lists become tuples, objects the dataclasses that the annotations name.

    Raises:
        ValueError: a field is unknown, missing, or of another shape.
    """
    result: T = _build(kind, value, kind.__name__)
    return result


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in arguments:
            return None
        return _build(next(option for option in arguments if option is not types.NoneType), value, where)
    if isinstance(kind, type) and is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: a list is needed, {value!r} found")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ValueError(f"{where}: {len(kinds)} items are needed, {len(value)} found")
        pairs = zip(kinds, value, strict=True)
        return tuple(_build(each, item, f"{where}[{place}]") for place, (each, item) in enumerate(pairs))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: an object is needed, {value!r} found")
        return {str(key): _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: {kind.__name__} is needed, {value!r} found")
    return value


def _build_dataclass(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: an object is needed, {value!r} found")
    hints = typing.get_type_hints(kind)
    if unknown := set(value) - {each.name for each in fields(kind)}:
        raise ValueError(f"{where}: unknown {', '.join(sorted(map(str, unknown)))}")
    try:
        return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as error:  # a field without a default is missing
        raise ValueError(f"{where}: {error}") from error
