"""The description of one fault, and its parser. Standard library only: it is read before torch is imported.

A fault says where it acts (`at`, `target`), what it does there (`kind`) and when:

    {"at": "module", "target": "encoder.layers.1.conv", "kind": "scale", "size": 1.01}
    {"at": "op", "target": "addmm", "kind": "nan", "nth": 10, "times": 1}

| at        | target: a pattern of                    | kinds                                            |
|-----------|-----------------------------------------|--------------------------------------------------|
| op        | aten names: addmm, masked_scatter       | as module, but slower; keyword: `argument` is `value` |
| module    | module names: encoder.layers.1.conv     | corruptions (of output or argument), events, slower |
| weight    | parameters and buffers                  | corruptions                                      |
| attribute | module names; `attribute` names what    | set, multiply, activation                        |
| cache     | layer numbers of the key-value cache    | stale                                            |
| call      | ACL functions: aclrtMalloc              | error, hang                                      |
| library   | an equation, by its name (library.py)   | wrong, on every device                           |
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

VARIABLE = "NPU_EMU_FAULTS"  # a JSON list of faults, or the path of a file that holds one

LIBRARY = "library"

CORRUPTIONS = frozenset(
    {"nan", "inf", "bitflip", "multibit", "scale", "zero", "noise", "bf16_round", "fp16_round", "shift", "transpose",
     "swap_halves", "reseed", "stale"}
)  # fmt: skip
EVENTS = frozenset({"slow", "hang", "op_error", "late_error", "cpu_fallback", "oom", "device_lost", "segfault"})
KINDS: Mapping[str, frozenset[str]] = {
    "op": CORRUPTIONS | EVENTS | {"keyword"},
    "module": CORRUPTIONS | EVENTS | {"slower"},
    "weight": CORRUPTIONS - {"stale"},
    "attribute": frozenset({"set", "multiply", "activation"}),
    "cache": frozenset({"stale"}),
    "call": frozenset({"error", "hang"}),
    LIBRARY: frozenset({"wrong"}),
}
# From the sign down: one of each class of bit, in any floating-point type.
BITS = ("sign", "exponent_top", "exponent_middle", "exponent_low", "mantissa_top", "mantissa_middle", "mantissa_low")
FEWEST_BITS = 16  # of the narrowest dtype
DTYPES = ("float32", "float16", "bfloat16")
ACTIVATIONS = ("gelu_tanh", "gelu_sigmoid", "relu", "hardswish", "silu_1.05", "identity")
NEEDED = {
    "scale": ("size",), "noise": ("size",), "slow": ("size",), "slower": ("size",), "bitflip": ("bit",),
    "multibit": ("bits",),
    "set": ("attribute", "value"), "multiply": ("attribute", "size"), "activation": ("attribute", "value"),
    "error": ("code",), "keyword": ("argument", "value"),
}  # fmt: skip
LOST_HEARTBEAT = 507010  # ACL_ERROR_RT_LOST_HEARTBEAT
AI_CORE_EXCEPTION = 507015  # ACL_ERROR_RT_AICORE_EXCEPTION


class FaultError(ValueError):
    """A fault that does not make sense; the message names it and what would."""


@dataclass(frozen=True)
class Fault:
    """One fault. Fields that a kind does not use keep their defaults."""

    at: str
    target: str  # fnmatch pattern of a whole name
    kind: str
    device: str = "npu"  # only tensors of this device type are touched, so that a CPU reference stays right
    card: int | None = None  # and only of this one of several
    dtype: str | None = None  # and only of this dtype: on a plain CPU the reference is on the same device, but wider
    module: str | None = None  # at "op": only while a module whose name matches is running
    argument: int | str | None = None  # which argument is corrupted; None: the result
    nth: int = 1  # the first matching call that is faulty, from 1
    times: int = 0  # how many are; 0: all from there on
    every: int = 1  # only each n-th of them
    size: float | None = (
        None  # factor of scale and multiply; relative size of noise; seconds of slow; of slower, share of its time
    )
    bit: str | None = None
    bits: int | None = None  # of multibit: how many of a word, drawn from `seed`
    period: int | None = None  # of multibit and zero: every so many elements, from `element` on
    tile: int | None = None  # of these: all of a square of so many rows and columns, in the last two dimensions
    element: int | None = None  # flat index of the one that nan, inf and bitflip hit, or drawn from `seed`; of zero too
    dim: int = -1  # along which shift, transpose (with the dimension before) and swap_halves act
    start: int | None = None  # corrupt only [start, stop) along `dim`
    stop: int | None = None
    seed: int = 0
    code: int | None = None  # the ACL error code of op_error, device_lost and error
    attribute: str | None = None
    value: Any = None

    def due(self, call: int) -> bool:
        """Whether the `call`-th matching call, from 1, is faulty."""
        since = call - self.nth
        return since >= 0 and since % self.every == 0 and (self.times == 0 or since // self.every < self.times)


def parse(text: str) -> list[Fault]:
    """The faults of VARIABLE's value: a JSON list, or the path of a JSON file with one.

    Raises:
        FaultError: it is not a list of faults.
    """
    source = text.strip()
    if not source.startswith("["):
        try:
            source = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise FaultError(f"faults are a JSON list or a file with one; {text!r}: {error.strerror}") from error
    try:
        rows = json.loads(source)
    except ValueError as error:
        raise FaultError(f"faults are not JSON: {error}") from error
    if not isinstance(rows, list):
        raise FaultError(f"faults are a list, not a {type(rows).__name__}")
    return [_fault(row, f"fault {number}") for number, row in enumerate(rows, start=1)]


def parse_rows(rows: Sequence[Mapping[str, Any]], name: str) -> list[Fault]:
    """The faults of one case of a table; `name` is what a message calls them."""
    return [_fault(row, f"{name}, fault {number}") for number, row in enumerate(rows, start=1)]


def _fault(row: object, name: str) -> Fault:
    if not isinstance(row, Mapping):
        raise FaultError(f"{name} is not an object: {row!r}")
    known = {field.name: field.type for field in fields(Fault)}
    types = get_type_hints(Fault)
    unknown = sorted(set(row) - set(known))
    if unknown:
        raise FaultError(f"{name} has no field {', '.join(unknown)}; the fields are {', '.join(known)}")
    missing = [field for field in ("at", "target", "kind") if not isinstance(row.get(field), str)]
    if missing:
        raise FaultError(f"{name} needs {', '.join(missing)}")
    for field, value in row.items():
        if not _fits(value, types[field]):
            raise FaultError(f"{name}: {field} is {known[field]}, not {value!r}")
    fault = Fault(**row)
    _check(fault, name)
    return fault


def _fits(value: object, annotation: Any) -> bool:
    kinds = get_args(annotation) or (annotation,)
    if Any in kinds:
        return True
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return float in kinds and math.isfinite(value)
    return type(value) in kinds or (isinstance(value, int) and float in kinds)


def _check(fault: Fault, name: str) -> None:
    if fault.at not in KINDS:
        raise FaultError(f"{name}: unknown at {fault.at!r}, one of {', '.join(KINDS)}")
    if fault.kind not in KINDS[fault.at]:
        raise FaultError(f"{name}: no {fault.kind!r} at {fault.at}, one of {', '.join(sorted(KINDS[fault.at]))}")
    absent = [field for field in NEEDED.get(fault.kind, ()) if getattr(fault, field) is None]
    if absent:
        raise FaultError(f"{name}: {fault.kind} needs {', '.join(absent)}")
    if fault.kind == "bitflip" and fault.bit not in BITS:
        raise FaultError(f"{name}: unknown bit {fault.bit!r}, one of {', '.join(BITS)}")
    if fault.kind == "multibit" and not 0 < (fault.bits or 0) <= FEWEST_BITS:
        raise FaultError(f"{name}: multibit flips 1 to {FEWEST_BITS} bits")
    if fault.period is not None and fault.period < 1:
        raise FaultError(f"{name}: a period is of 1 or more elements")
    if fault.kind == "activation" and fault.value not in ACTIVATIONS:
        raise FaultError(f"{name}: unknown activation {fault.value!r}, one of {', '.join(ACTIVATIONS)}")
    if fault.nth < 1 or fault.every < 1 or fault.times < 0:
        raise FaultError(f"{name}: nth and every count from 1, times from 0")
    if fault.dtype not in (None, *DTYPES):
        raise FaultError(f"{name}: unknown dtype {fault.dtype!r}, one of {', '.join(DTYPES)}")
    if fault.card is not None and fault.at in ("call", LIBRARY):
        raise FaultError(f"{name}: a {fault.at} is of a process, not of a card")
    if fault.module is not None and fault.at != "op":
        raise FaultError(f"{name}: only a fault at op is limited to a module; name the module as target")
