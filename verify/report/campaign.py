"""A fault campaign read back: what verify made of planted faults, and of runs without one. schemas/faults.schema.json.

The file is made elsewhere and copied into a run's folder; what stands there is part of that run's documents. Types are
held here and not in a template, and so is its summary: a document must not show totals that its own rows contradict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from env.atomic import write_text
from env.errors import RecordError
from verify.run.verdict import Word

SCHEMA = 1
FAULTS_FILE = "faults.json"  # in the folder of a run
MADE_BY = "nox -s faults"

Row = TypeVar("Row")
Count = int  # from 0
Amount = float  # finite, from 0
On = Literal["npu", "cpu"]
Sort = Literal["number", "event", "checkpoint"]


@dataclass(frozen=True)
class Fault:
    """One planted fault, and what verify made of it."""

    id: str
    family: str
    what: str
    on: On
    emulated: bool
    layer: str | None  # the one faulty layer; None where the fault is in no layer, or in several
    sort: Sort
    effect: Amount | None  # how far outputs moved, in units of the dtype's own noise; None: cannot be measured
    beyond_noise: bool | None
    caught: bool
    check: str | None  # the first that did not pass
    level: Count | None
    reason: str
    named: bool | None
    named_layer: str | None
    seconds: Amount | None  # from the start of verify to the first record that did not pass, imports left out
    records: Count
    documents: bool
    verdict: str
    missed_because: str | None

    @property
    def counts(self) -> bool:
        """Whether it has to be caught: all but numbers that drown in the dtype's rounding. An event is no number."""
        return self.beyond_noise is not False or self.sort == "event"

    @property
    def ended(self) -> bool:
        """Whether the run came to an end that a reader can trust: records, documents, and no pass."""
        passed = self.verdict.removeprefix("verdict: ").startswith(Word.VERIFIED.value)
        return self.records > 0 and self.documents and not passed


@dataclass(frozen=True)
class Clean:
    """One run without a fault."""

    model: str
    seed: int
    dtype: str
    on: On
    alarms: tuple[str, ...]  # the checks that did not pass
    reason: str
    checks: Count
    seconds: Amount


@dataclass(frozen=True)
class Summary:
    """What the rows of a campaign count up to."""

    cases: Count
    beyond_noise: Count
    caught: Count  # of those beyond the noise
    events: Count
    events_ended: Count
    single_layer: Count  # faults caught that have a layer
    named: Count  # of these, with the layer named right
    clean_runs: Count
    false_alarms: Count  # runs that raised one, whatever the number of checks that did


@dataclass(frozen=True)
class Campaign:
    """A whole campaign, checked."""

    project: Mapping[str, str | None]
    started: str
    seconds: Amount
    jobs: Count
    versions: Mapping[str, str | None]
    sources_sha256: str
    faults: tuple[Fault, ...]
    clean: tuple[Clean, ...]
    summary: Summary


@dataclass(frozen=True)
class Damaged:
    """A run's faults.json that cannot be used, and why: without its path, which a document must not hold."""

    why: str


def count(faults: Sequence[Fault], clean: Sequence[Clean]) -> Summary:
    """The summary of these rows."""
    beyond = [fault for fault in faults if fault.beyond_noise]
    events = [fault for fault in faults if fault.sort == "event"]
    layered = [fault for fault in faults if fault.caught and fault.layer is not None]
    return Summary(
        cases=len(faults),
        beyond_noise=len(beyond),
        caught=sum(fault.caught for fault in beyond),
        events=len(events),
        events_ended=sum(fault.ended for fault in events),
        single_layer=len(layered),
        named=sum(fault.named is True for fault in layered),
        clean_runs=len(clean),
        false_alarms=sum(bool(run.alarms) for run in clean),
    )


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # JSON's integers have no bound
        return False


_HOLDS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
    "Count": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "Amount": lambda value: _is_number(value) and value >= 0,
    "On": lambda value: value in ("npu", "cpu"),
    "Sort": lambda value: value in ("number", "event", "checkpoint"),
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "Mapping[str, str | None]": lambda value: (
        isinstance(value, dict) and all(one is None or isinstance(one, str) for one in value.values())
    ),
}
_REQUIRED = {
    "int": "an integer",
    "str": "text",
    "bool": "true or false",
    "None": "null",
    "Count": "an integer from 0",
    "Amount": "a finite number from 0",
    "On": '"npu" or "cpu"',
    "Sort": '"number", "event" or "checkpoint"',
    "tuple[str, ...]": "a list of texts",
    "Mapping[str, str | None]": "an object of texts",
}


def _wrong(where: str, required: str, found: object) -> NoReturn:
    said = json.dumps(found)
    raise ValueError(f"{where} {required} required, {said if len(said) <= 60 else said[:59] + '…'} found")


def _row(value: object, of: type[Row], where: str, **made: Any) -> Row:
    """`value` as a row, its fields of the annotated types; `made` are those that were read before."""
    if not isinstance(value, dict):
        _wrong(f"{where}:", "an object", value)
    names = [field.name for field in fields(of)]  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(names))
    missing = [name for name in names if name not in value]
    if missing or unknown:
        raise ValueError(f"{where}: {f'{missing[0]} is missing' if missing else f'no field {unknown[0]!r} is known'}")
    for field in fields(of):  # type: ignore[arg-type]
        if field.name not in made:
            kinds = [str(field.type)] if str(field.type) in _HOLDS else str(field.type).split(" | ")
            if not any(_HOLDS[kind](value[field.name]) for kind in kinds):
                _wrong(f"{where}.{field.name}:", " or ".join(_REQUIRED[kind] for kind in kinds), value[field.name])
    read = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    return of(**{**read, **made})


def _rows(value: Mapping[str, Any], name: str, of: type[Row]) -> tuple[Row, ...]:
    rows = value.get(name)
    if not isinstance(rows, list):
        _wrong(f"{name}:", "a list", rows)
    return tuple(_row(row, of, f"{name}[{number}]") for number, row in enumerate(rows))


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def parse(text: str) -> Campaign:
    """The campaign that `text`, a faults.json, holds.

    Raises:
        ValueError: it is not JSON, of another version, not in the shape of the schema, or does not add up.
    """
    value = json.loads(text, parse_constant=_not_json)
    if not isinstance(value, dict):
        _wrong("the file:", "an object", value)
    version = value.pop("schema", None)
    if type(version) is not int or version != SCHEMA:
        _wrong("schema", str(SCHEMA), version)
    faults, clean = _rows(value, "faults", Fault), _rows(value, "clean", Clean)
    summary = _row(value.get("summary"), Summary, "summary")
    campaign = _row(value, Campaign, "campaign", faults=faults, clean=clean, summary=summary)
    lacking = [name for name in ("version", "commit") if name not in campaign.project]
    if lacking:
        raise ValueError(f"campaign.project: {lacking[0]} is missing")
    counted = count(faults, clean)
    for field in fields(Summary):
        said, found = getattr(summary, field.name), getattr(counted, field.name)
        if said != found:
            raise ValueError(f"summary.{field.name}: {found} required by the rows, {said} found")
    return campaign


_UNREADABLE = (OSError, ValueError, RecursionError)


def _why(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def attach(file: Path, folder: Path) -> None:
    """Check a campaign's file and copy it into a run's `folder`, byte for byte.

    Raises:
        RecordError: it cannot be read, or is no campaign of this version.
        StorageError: as `env.atomic.write_text`.
    """
    try:
        text = file.read_bytes().decode("utf-8")
        parse(text)
    except FileNotFoundError as error:
        raise RecordError(f"no fault campaign in {file}", why="there is no such file", next=MADE_BY) from error
    except _UNREADABLE as error:
        raise RecordError(
            f"{file} is not a fault campaign that can be shown: {_why(error)}",
            why="the file is damaged, or was made by another version of this bundle",
            next=MADE_BY,
        ) from error
    write_text(folder / FAULTS_FILE, text)


def attached(folder: Path) -> Campaign | Damaged | None:
    """The campaign that stands in a run's folder. As with records, a damaged file is named and no exception."""
    try:
        return parse((folder / FAULTS_FILE).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        return Damaged(_why(error))
