"""What a run leaves behind: one JSON record a check, and run.json, which holds the run's options and its plan.

A record is written by atomic rename the moment its check ends, so that a crash, Ctrl-C or a full disk never loses a
finished one. The report reads these files and nothing else. The format is versioned; schemas/*.json are made of the
types here and in figures/, and reading holds a file to the same types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, field

from env import elsewhere
from env.atomic import write_json
from env.errors import RecordError, storage_error
from env.language import Message, _, joined
from env.options import SETUP_FILE
from model.signature import Signature
from verify.reference.figures import Figures, Name, Positive, Size
from verify.run import contradiction, derived
from verify.run.damage import DamageError, convert, encode_message
from verify.run.figures import FIGURES, DiagnosisFigures
from verify.run.figures.weights import CheckpointFigures

SCHEMA: Literal[1] = 1
RECORDS = "records"  # the folder of a run that holds its records
RUN_FILE = "run.json"
MOST_RECORDS = 256  # of a run; it has one for each check, and there are 20
DOCTOR = "doctor"  # the known failures in a record's log, beside the check's own figures
DOING = "doing"  # the key of a worker's line that is no answer yet

Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|\+00:00)$")]  # UTC, whole seconds
Level = Annotated[int, Meta(ge=1, le=4)]
T = TypeVar("T")


class Status(str, Enum):
    """How a check ended. NOT_RUN is never written: it is what a planned check without a record is."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class Outcome:
    """What a check function returns: its status, one sentence of reason, its figures and what they were taken with."""

    status: Status
    reason: str = ""
    figures: Figures | None = None
    signature: Signature | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The figures as a record holds them."""
        return self.figures.as_json() if self.figures is not None else {}


def passed(reason: str, figures: Figures | None = None, signature: Signature | None = None) -> Outcome:
    return Outcome(Status.PASS, reason, figures, signature)


def failed(problems: Sequence[str], figures: Figures | None = None, signature: Signature | None = None) -> Outcome:
    """A failure for every one of `problems`."""
    reason = problems[0] if len(problems) == 1 else joined(*problems)
    return Outcome(Status.FAIL, reason, figures, signature)


def skipped(reason: str) -> Outcome:
    return Outcome(Status.SKIP, reason)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of a check, or its parent where the worker could not."""

    status: Status
    reason: Message
    data: dict[str, Any] = field(default_factory=dict)
    signature: dict[str, Any] = field(default_factory=dict)
    seconds: float
    emulated: bool | None = None  # None of a worker that died before it could tell
    card: dict[str, Any] = field(default_factory=dict)
    spoiled: bool = False  # its process must run no other check
    log: tuple[str, ...] = ()
    plog: tuple[str, ...] = ()
    cpu_fallback: tuple[str, ...] = ()
    worker: int | None = None


@dataclass(frozen=True)
class Record:
    """One check of one run, as it is stored."""

    check: Name
    level: Positive
    status: Status
    reason: str  # a Message, where it was read or made by a check
    started: Moment
    seconds: Size
    data: Mapping[str, Any]  # the figures as JSON, and the doctor's diagnoses
    signature: Mapping[str, Any]  # as model.signature.Signature
    rerun: Name  # the exact command that runs this check again
    log: tuple[str, ...] = ()  # the last lines of the child's output, kept where the check did not pass
    emulated: bool = False
    plog: tuple[str, ...] = ()  # the errors in CANN's own log, kept where the check did not pass
    cpu_fallback: tuple[str, ...] = ()  # operators that torch-npu ran on the host, in this process up to this check
    worker: Positive | None = None  # which worker of the run it was, from 1: a new one follows an error of the device
    card: Mapping[str, Any] | None = None  # which card of the machine, as Device.physical tells
    schema: Literal[1] = SCHEMA

    @property
    def figures(self) -> Figures | None:
        """The check's figures; None where it left none, or is none of this version's.

        Raises:
            DamageError: they are not as this version writes them.
        """
        own = {name: value for name, value in self.data.items() if name != DOCTOR}
        kind = FIGURES.get(self.check)
        return convert(own, kind, "data") if kind is not None and own else None


LATER = (
    "plog",
    "cpu_fallback",
    "worker",
    "card",
    "device_map",
)  # of a record, written where there is something: earlier versions had none


@dataclass(frozen=True)
class Run:
    """The options of a run, and the checks it planned."""

    run_id: Name
    started: Moment
    level: Level
    device: str  # the option: "auto", "npu:0", ...
    model_dir: str
    dtype: str
    seed: int
    planned: Annotated[
        tuple[Name, ...], Meta(max_length=256, extra_json_schema={"uniqueItems": True})
    ]  # check names, in order
    command: Name  # the command that repeats the run
    project: Mapping[str, str | None]  # version and git commit of the bundle
    device_map: str | None = None  # the option: "auto" splits one model over several cards
    schema: Literal[1] = SCHEMA


class UnlockedPin(msgspec.Struct, frozen=True, kw_only=True):
    """A package that is pinned outside the lock, as it was installed."""

    name: str
    asked: str
    found: str
    sha256: str
    source: str
    substituted: bool


class SetupData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the environment was built, as far as it came; setup may record more."""

    profile: str | None = None
    stack: str | None = None  # None and "" are the declared one
    python: str | None = None
    machine: str | None = None
    lock: str | None = None
    lock_sha256: str | None = None
    installer: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    apart: list[UnlockedPin] = field(default_factory=list)
    device: str | None = None


@dataclass(frozen=True)
class Setup:
    """How the environment of a run was built, or why it was not: setup.json."""

    schema: Literal[1]
    status: Literal["pass", "fail", "error"]
    reason: str
    started: Moment
    seconds: Size
    command: Name
    data: SetupData


@dataclass(frozen=True)
class Evidence:
    """A run read back: its records by check name, and what could not be read (file name -> why).

    `run` is None where verification never started (setup failed, say), `setup` where no setup belongs to this run.
    """

    run: Run | None
    setup: Mapping[str, Any] | None  # as Setup
    records: Mapping[str, Record]
    damaged: Mapping[str, str]

    def status(self, check: str) -> Status:
        """How a check ended: NOT_RUN where it left nothing, ERROR where what it left cannot be read."""
        if check in self.records:
            return self.records[check].status
        return Status.ERROR if f"{check}.json" in self.damaged else Status.NOT_RUN

    def data(self, check: str) -> Mapping[str, Any]:
        """The figures of a check; none where it left none."""
        return self.records[check].data if check in self.records else {}

    @property
    def setup_data(self) -> Mapping[str, Any]:
        """The figures of setup; none where there are none."""
        data = self.setup.get("data") if self.setup else None
        return data if isinstance(data, Mapping) else {}


def write_run(folder: Path, run: Run) -> None:
    value = msgspec.to_builtins(run)
    write_json(folder / RUN_FILE, {name: each for name, each in value.items() if each is not None or name not in LATER})


def write_record(folder: Path, record: Record) -> None:
    """Write one record under `folder`, a run's folder. Floats in `data` must be finite: JSON has no NaN."""
    value = msgspec.to_builtins(record, enc_hook=encode_message)
    value = {name: each for name, each in value.items() if each or name not in LATER}
    write_json(folder / RECORDS / f"{record.check}.json", value)


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


def _load(path: Path, kind: str, root: Path) -> dict[str, Any]:
    value = elsewhere.read_json(path, "record", root=root)
    if not isinstance(value, dict):
        raise DamageError(_("{kind} is not a JSON object", kind=kind))
    if value.get("schema") != SCHEMA:
        raise DamageError(
            _("schema {required} required, {version} found", required=SCHEMA, version=repr(value.get("schema")))
        )
    return value


def _typed(value: Mapping[str, Any], kind: type[T]) -> T:
    """A file's object as the dataclass that it is."""
    unknown = sorted(value.keys() - {each.name for each in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise DamageError(_("{field} is unknown", field=unknown[0]))
    return convert(value, kind)


def _with_reason(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its reason as a message: a string of an earlier version, or a template with its fields."""
    try:
        return {**value, "reason": Message.from_json(value["reason"])}
    except KeyError:
        raise DamageError(_("{field} is missing", field="reason")) from None
    except ValueError as error:
        raise DamageError(_("{field}: {problem}", field="reason", problem=str(error))) from error


def _read_record(path: Path) -> Record:
    value = _with_reason(_load(path, "record", path.parents[1]))
    reason = value["reason"]
    record = replace(_typed({**value, "reason": str(reason)}, Record), reason=reason)
    if record.check != path.stem:
        raise DamageError(_("is the record of {check}", check=record.check))
    if record.status is Status.NOT_RUN:
        raise DamageError(_("a check that was not run leaves no record"))
    convert(record.data.get(DOCTOR, []), list[DiagnosisFigures], f"data.{DOCTOR}")
    convert(record.signature, Signature, "signature")
    if record.figures is None and record.status is Status.PASS and record.check in FIGURES:
        raise DamageError(_("data is empty, and the check passed"))
    return record


def _read_setup(path: Path) -> dict[str, Any]:
    value = _with_reason(_load(path, SETUP_FILE, path.parent))
    _typed({**value, "reason": str(value["reason"])}, Setup)
    return value


def _why(error: BaseException) -> str:
    """What is wrong with a file, without its path: a document must not name the machine that renders it."""
    if isinstance(error, DamageError):
        return error.problem
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def read_evidence(folder: Path) -> Evidence:
    """Read a run's folder. A damaged file is named in `damaged`, never an exception.

    Raises:
        RecordError: the folder holds neither a run.json nor a setup.json.
    """
    if not (folder / RUN_FILE).exists() and not (folder / SETUP_FILE).exists():
        raise RecordError(
            _("no run in {folder}: neither {run} nor {setup} is there", folder=folder, run=RUN_FILE, setup=SETUP_FILE),
            next="nox -s verify",
        )
    damaged: dict[str, str] = {}

    def readable(path: Path, read: Callable[[Path], T]) -> T | None:
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            damaged[path.name] = _why(error)
            return None

    run = readable(folder / RUN_FILE, lambda path: _typed(_load(path, RUN_FILE, path.parent), Run))
    setup = readable(folder / SETUP_FILE, _read_setup)
    paths = sorted((folder / RECORDS).glob("*.json"))
    if len(paths) > MOST_RECORDS:
        damaged[RECORDS] = _("{count} files, {most} are read", count=len(paths), most=MOST_RECORDS)
        paths = paths[:MOST_RECORDS]
    records = {record.check: record for path in paths if (record := readable(path, _read_record)) is not None}
    for name, why in _contradicted(run, records):
        damaged[f"{name}.json"] = why
        del records[name]
    return Evidence(run, setup, records, damaged)


def _contradicted(run: Run | None, records: Mapping[str, Record]) -> list[tuple[str, Message]]:
    """The records that claim what their own figures deny, each with the first of those."""
    checkpoint = records["checkpoint"].figures if "checkpoint" in records else None
    every = {name: figures for name, record in records.items() if (figures := record.figures) is not None}
    claimed = {name: figures for name, figures in every.items() if records[name].status is Status.PASS}
    signatures = {name: record.signature for name, record in records.items()}
    contradicted = [(name, _denied(problem)) for name, problem in dict(derived.across(claimed, signatures)).items()]
    for name, record in records.items():
        figures = every.get(name)
        if figures is None or name in dict(contradicted) or record.status not in (Status.PASS, Status.SKIP):
            continue
        if record.status is Status.SKIP:
            contradicted.append((name, _("a check that was skipped leaves no figures")))
            continue
        around = contradiction.Around(
            device=run.device if run else "auto",
            signature=record.signature,
            emulated=record.emulated,
            checkpoint=checkpoint if isinstance(checkpoint, CheckpointFigures) else None,
            noise_due=run is not None and run.project.get("version") != derived.WITHOUT_NOISE,
        )
        if problems := contradiction.problems(name, figures, around):
            contradicted.append((name, _denied(problems[0])))
    return contradicted


def _denied(problem: str) -> Message:
    return _("its status is pass, its figures say: {problem}", problem=problem)
