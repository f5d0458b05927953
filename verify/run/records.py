"""What a run leaves behind: one JSON record a check, and run.json, which says what was asked and planned.

A record is written by atomic rename the moment its check ends, so that a crash, Ctrl-C or a full disk never loses a
finished one. The report reads these files and nothing else. The format is versioned: schemas/*.json holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from env.atomic import write_json
from env.errors import RecordError, storage_error
from env.language import Message
from env.options import SETUP_FILE
from model.signature import Signature

SCHEMA = 1
RECORDS = "records"  # the folder of a run that holds its records
RUN_FILE = "run.json"


class Status(str, Enum):
    """How a check ended. NOT_RUN is never written: it is what a planned check without a record is."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class Outcome:
    """What a check function returns: its status, one sentence of reason, its figures and what they were taken with.

    `data` is plain JSON.
    """

    status: Status
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    signature: Signature | None = None


@dataclass(frozen=True)
class Record:
    """One check of one run, as it is stored."""

    check: str
    level: int
    status: Status
    reason: str
    started: str  # UTC, ISO 8601, whole seconds
    seconds: float
    data: Mapping[str, Any]
    signature: Mapping[str, Any]
    rerun: str  # the exact command that runs this check again
    log: tuple[str, ...] = ()  # the last lines of the child's output, kept where the check did not pass
    emulated: bool = False
    schema: int = SCHEMA


@dataclass(frozen=True)
class Run:
    """What was asked of a run, on what, and which checks it planned."""

    run_id: str
    started: str
    level: int
    device: str  # as asked: "auto", "npu:0", ...
    model_dir: str
    dtype: str
    seed: int
    planned: tuple[str, ...]  # check names, in order
    command: str  # the command that repeats the run
    project: Mapping[str, Any]  # version and git commit of the bundle
    schema: int = SCHEMA


@dataclass(frozen=True)
class Evidence:
    """A run read back: its records by check name, and what could not be read (file name -> why).

    `run` is None where verification never started (setup failed, say), `setup` where no setup belongs to this run.
    """

    run: Run | None
    setup: Mapping[str, Any] | None
    records: Mapping[str, Record]
    damaged: Mapping[str, str]

    def status(self, check: str) -> Status:
        if check in self.records:
            return self.records[check].status
        return Status.ERROR if f"{check}.json" in self.damaged else Status.NOT_RUN


def write_run(folder: Path, run: Run) -> None:
    write_json(folder / RUN_FILE, asdict(run))


def write_record(folder: Path, record: Record) -> None:
    """Write one record under `folder`, a run's folder. Floats in `data` must be finite: JSON has no NaN."""
    write_json(folder / RECORDS / f"{record.check}.json", asdict(record))


def forget_records(folder: Path, checks: Iterable[str]) -> None:
    """Remove what an earlier run left in `folder` of the checks that are to run now: it would pass for this run's.

    Raises:
        StorageError: the folder cannot be written.
    """
    for name in checks:
        path = folder / RECORDS / f"{name}.json"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error


def _load(path: Path, kind: str) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{kind} is not a JSON object")
    if value.get("schema") != SCHEMA:
        raise ValueError(f"schema {SCHEMA} required, {value.get('schema')!r} found")
    return value


_NOT_TEXT: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("level", "seed", "schema"), int),
    **dict.fromkeys(("planned", "log"), list),
    **dict.fromkeys(("data", "signature", "project"), dict),
    "seconds": (int, float),
    "emulated": bool,
    "reason": (str, dict),
}


def _expect_fields(value: Mapping[str, Any], of: type[Run] | type[Record]) -> None:
    """Hold the types that readers rely on, so that a damaged file is found here and not in a judge or a template."""
    for name in (each.name for each in fields(of)):
        if name not in value:
            raise ValueError(f"{name} is missing")
        if not isinstance(value[name], _NOT_TEXT.get(name, str)):
            raise ValueError(f"{name} is a {type(value[name]).__name__}")


def _read_run(path: Path) -> Run:
    value = _load(path, RUN_FILE)
    _expect_fields(value, Run)
    value["planned"] = tuple(map(str, value["planned"]))
    return Run(**value)


def _read_record(path: Path) -> Record:
    value = _load(path, "record")
    _expect_fields(value, Record)
    value["status"] = Status(value["status"])
    value["reason"] = Message.from_json(value["reason"])
    value["log"] = tuple(map(str, value["log"]))
    record = Record(**value)
    if record.check != path.stem:
        raise ValueError(f"is the record of {record.check}")
    return record


def _why(error: BaseException) -> str:
    """What is wrong with a file, without its path: a document must not name the machine that renders it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def read_evidence(folder: Path) -> Evidence:
    """Read a run's folder. A damaged file is named in `damaged`, never an exception.

    Raises:
        RecordError: the folder holds neither a run.json nor a setup.json.
    """
    damaged: dict[str, str] = {}
    unreadable = (OSError, ValueError, TypeError, KeyError, RecursionError)
    run: Run | None = None
    setup: Mapping[str, Any] | None = None
    records: dict[str, Record] = {}
    if not (folder / RUN_FILE).exists() and not (folder / SETUP_FILE).exists():
        raise RecordError(f"no run in {folder}: neither {RUN_FILE} nor {SETUP_FILE} is there", next="nox -s verify")
    try:
        run = _read_run(folder / RUN_FILE)
    except FileNotFoundError:
        pass
    except unreadable as error:
        damaged[RUN_FILE] = _why(error)
    try:
        setup = _load(folder / SETUP_FILE, SETUP_FILE)
    except FileNotFoundError:
        pass
    except unreadable as error:
        damaged[SETUP_FILE] = _why(error)
    for path in sorted((folder / RECORDS).glob("*.json")):
        try:
            record = _read_record(path)
        except unreadable as error:
            damaged[path.name] = _why(error)
        else:
            records[record.check] = record
    return Evidence(run, setup, records, damaged)
