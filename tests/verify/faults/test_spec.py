"""A fault is data: what is wrong with a description is told before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from verify.faults.spec import CORRUPTIONS, EVENTS, KINDS, Fault, FaultError, parse

GOOD: dict[str, Any] = {"at": "module", "target": "encoder.layers.1", "kind": "scale", "size": 1.01}


def test_a_list_is_read_with_defaults() -> None:
    (fault,) = parse(json.dumps([GOOD]))
    assert fault == Fault(at="module", target="encoder.layers.1", kind="scale", size=1.01)
    assert (fault.device, fault.nth, fault.times, fault.every) == ("npu", 1, 0, 1)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([GOOD, GOOD]), encoding="utf-8")
    assert len(parse(str(path))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/no/such/file", "No such file"),
        ("[{", "not JSON"),
        ("[3]", "fault 1 is not an object"),
        ('[{"at": "op", "kind": "nan"}]', "needs target"),
        (json.dumps([GOOD | {"tyme": 1}]), "no field tyme; the fields are at, target"),
        (json.dumps([GOOD, GOOD | {"at": "model"}]), "fault 2: unknown at 'model', one of op, module"),
        (json.dumps([GOOD | {"kind": "melt"}]), "no 'melt' at module, one of"),
        (json.dumps([GOOD | {"size": "big"}]), "size is float | None, not 'big'"),
        (json.dumps([GOOD | {"size": True}]), "size is"),
        (json.dumps([GOOD | {"nth": 1.5}]), "nth is int"),
        (json.dumps([GOOD | {"nth": 0}]), "count from 1"),
        ('[{"at": "op", "target": "mm", "kind": "scale"}]', "scale needs size"),
        ('[{"at": "op", "target": "mm", "kind": "bitflip", "bit": "third"}]', "unknown bit 'third', one of sign"),
        (json.dumps([GOOD | {"module": "encoder"}]), "only a fault at op"),
        (json.dumps([GOOD | {"dtype": "float64"}]), "unknown dtype 'float64', one of float32"),
        (
            '[{"at": "attribute", "target": "x", "kind": "activation", "attribute": "a", "value": "tanh"}]',
            "one of gelu",
        ),
        ('[{"at": "call", "target": "aclrtMalloc", "kind": "error"}]', "error needs code"),
        ('[{"at": "weight", "target": "x", "kind": "hang"}]', "no 'hang' at weight"),
        ('[{"at": "op", "target": "gelu", "kind": "keyword", "value": "tanh"}]', "keyword needs argument"),
        (
            '[{"at": "call", "target": "aclrtMalloc", "kind": "error", "code": 207001, "card": 1}]',
            "a call is of a process, not of a card",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("when", "faulty"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"nth": 3}, [3, 4, 5, 6]),
        ({"nth": 2, "times": 2}, [2, 3]),
        ({"every": 3}, [1, 4]),
        ({"nth": 2, "every": 2, "times": 2}, [2, 4]),
    ],
)
def test_which_calls_are_faulty(when: dict[str, int], faulty: list[int]) -> None:
    (fault,) = parse(json.dumps([GOOD | when]))
    assert [call for call in range(1, 7) if fault.due(call)] == faulty


def test_every_place_has_kinds_and_every_kind_a_place() -> None:
    assert all(KINDS.values())
    assert set() == CORRUPTIONS & EVENTS
