"""What a run leaves behind: one JSON record a check, and run.json, which says what was asked and planned.

A record is written by atomic rename the moment its check ends, so that a crash, Ctrl-C or a full disk never loses a
finished one. The report reads these files and nothing else. The format is versioned: schemas/*.json holds it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from env.errors import RecordError, storage_error

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

    `data` and `signature` are plain JSON. `signature` holds what a figure needs to be compared: device, dtype,
    attention implementation, batch, lengths, seed, sha256 of the weights, versions, n, warm-up.
    """

    status: Status
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    signature: Mapping[str, Any] = field(default_factory=dict)


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
    setup: Mapping[str, Any] = field(default_factory=dict)  # the setup's own record: profile, lock sha256, packages apart
    schema: int = SCHEMA


@dataclass(frozen=True)
class Evidence:
    """A run read back: its records by check name, and what could not be read (file name -> why)."""

    run: Run
    records: Mapping[str, Record]
    damaged: Mapping[str, str]

    def status(self, check: str) -> Status:
        if check in self.records:
            return self.records[check].status
        return Status.ERROR if f"{check}.json" in self.damaged else Status.NOT_RUN


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON by atomic rename: a reader sees the old file or the whole new one.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path) from error


def write_run(folder: Path, run: Run) -> None:
    write_json(folder / RUN_FILE, asdict(run))


def write_record(folder: Path, record: Record) -> None:
    """Write one record under `folder`, a run's folder. Floats in `data` must be finite: JSON has no NaN."""
    write_json(folder / RECORDS / f"{record.check}.json", asdict(record))


def _load(path: Path, kind: str) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{kind} is not a JSON object")
    if value.get("schema") != SCHEMA:
        raise ValueError(f"schema {SCHEMA} required, {value.get('schema')!r} found")
    return value


def read_run(folder: Path) -> Run:
    """Read a run's run.json.

    Raises:
        RecordError: there is no such file, or it cannot be read as this version of the format.
    """
    path = folder / RUN_FILE
    try:
        value = _load(path, RUN_FILE)
        value["planned"] = tuple(value["planned"])
        return Run(**value)
    except FileNotFoundError as error:
        raise RecordError(f"no run in {folder}: {RUN_FILE} is missing", next="nox -s verify") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordError(f"cannot read {path}: {error}", why="the file is damaged", next="nox -s verify") from error


def read_evidence(folder: Path) -> Evidence:
    """Read a run's folder. A damaged record is named in `damaged`, never an exception.

    Raises:
        RecordError: run.json is absent or unreadable.
    """
    run = read_run(folder)
    records: dict[str, Record] = {}
    damaged: dict[str, str] = {}
    for path in sorted((folder / RECORDS).glob("*.json")):
        try:
            value = _load(path, "record")
            value["status"] = Status(value["status"])
            value["log"] = tuple(value["log"])
            record = Record(**value)
            if record.check != path.stem:
                raise ValueError(f"is the record of {record.check}")
            records[record.check] = record
        except (OSError, ValueError, TypeError, KeyError) as error:
            damaged[path.name] = str(error)
    return Evidence(run, records, damaged)
