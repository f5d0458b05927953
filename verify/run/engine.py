"""Runs the planned checks, each in a child with a time limit, and writes each record the moment its check ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from env import npu_emulator
from env.doctor import diagnose
from env.ending import uninterrupted
from env.errors import StorageError
from env.language import Message, _
from model.npu import BLOCKING, LATE
from verify.run import npu_logs
from verify.run.child import Child
from verify.run.context import Context
from verify.run.plan import Check, full_size, parameters
from verify.run.provenance import project, shown_model_dir
from verify.run.records import DOCTOR, RUN_FILE, Answer, Record, Run, Status, write_record

INTERRUPTED_S = 2.0  # how long a worker that was killed may hold up a run that was interrupted


@dataclass(frozen=True)
class Progress:
    """What the screen is told: a check begins, tells what it is `doing`, or has ended (with its `record`)."""

    check: str
    record: Record | None = None
    doing: Message | None = None  # of a check that runs, where it tells


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Workers:
    """One warm worker at a time: a new one is started where the last has died, or its device's runtime has failed."""

    def __init__(self, python: Path, context: Context) -> None:
        self._python = python
        self._context = context
        self._child: Child | None = None
        self._started = 0

    def run(self, check: Check, limit: float, tell: Callable[[Message], None] = lambda doing: None) -> Answer:
        """The answer for `check` within `limit` seconds; `tell` hears what it does meanwhile.

        Raises:
            StorageError: a worker's log cannot be written.
        """
        if self._child is None or not self._child.alive:
            self._started += 1
            self._child = Child(self._python, self._context, self._started)
        self._child.tell = tell
        return self._child.run(check, limit)

    def close(self, limit: float | None = None) -> None:
        """End the worker; it may take `limit` seconds to be gone."""
        if self._child is not None:
            self._child.close(limit)
            npu_logs.tidy(self._context.run_folder)


def run_checks(
    checks: Sequence[Check],
    context: Context,
    python: Path,
    rerun: Callable[[str], str],
    progress: Callable[[Progress], None] = lambda _step: None,
) -> list[Record]:
    """Run `checks` in order. A worker that dies or hangs costs only its check: the next gets a new one.

    On KeyboardInterrupt the check that was running gets an error record, and the exception goes on.

    Raises:
        StorageError: a record cannot be written; those before it are kept. Or the run was removed meanwhile: a new
            folder in its place would hold half of it.
    """
    records: list[Record] = []
    begun = (context.run_folder / RUN_FILE).exists()
    workers = Workers(python, context)
    full, count = full_size(context.model_dir, context.level), parameters(context.model_dir)
    positions = context.batch_size * context.seq_len
    try:
        for check in checks:
            started, clock = now(), time.monotonic()
            stopped: KeyboardInterrupt | None = None
            try:
                progress(Progress(check.name))
                limit = check.limit_for(full=full, minutes=context.minutes, parameters=count, positions=positions)
                answer = workers.run(check, limit, partial(_tell, progress, check.name))
            except KeyboardInterrupt as interrupt:
                stopped = interrupt
                seconds = round(time.monotonic() - clock, 3)
                answer = Answer(status=Status.ERROR, reason=_("interrupted"), seconds=seconds)
            with uninterrupted():
                if begun and not (context.run_folder / RUN_FILE).exists():
                    raise removed(context.run_folder)
                record = record_of(check, answer, started, rerun(check.name))
                write_record(context.run_folder, record)
                records.append(record)
                progress(Progress(check.name, record))
            if stopped is not None:
                raise stopped
    except KeyboardInterrupt:
        workers.close(INTERRUPTED_S)
        raise
    finally:
        workers.close()
    return records


def _tell(progress: Callable[[Progress], None], check: str, doing: Message) -> None:
    progress(Progress(check, doing=doing))


def removed(folder: Path) -> StorageError:
    return StorageError(
        _("{folder} was removed while the run was writing to it", folder=str(folder)),
        why=_("its records are gone; what is still to come would be no whole run"),
        next=_("run it again"),
    )


def record_of(check: Check, answer: Answer, started: str, rerun: str) -> Record:
    """The record of a check that has ended, with the known failures in what it left where it did not pass.

    A pass of an operator on the host is none of the device's: where a figure's signature names the device it fails.
    """
    data: dict[str, Any] = dict(answer.data)
    status, reason = answer.status, answer.reason
    if status is Status.PASS and answer.cpu_fallback and "device" in answer.signature:
        status, reason = Status.FAIL, _("ran on the CPU: {names}", names=", ".join(answer.cpu_fallback))
    if status in (Status.FAIL, Status.ERROR):
        known = diagnose([*answer.log, *answer.plog, answer.reason])
        if known:
            data[DOCTOR] = [diagnosis.as_dict() for diagnosis in known]
    emulated = answer.emulated
    if emulated is None:
        emulated = bool(os.environ.get(npu_emulator.VARIABLE))
    if LATE in "\n".join((*answer.log, reason)):
        rerun = f"{BLOCKING} {rerun}"
    return Record(
        check=check.name,
        level=check.level,
        status=status,
        reason=reason,
        started=started,
        seconds=answer.seconds,
        data=data,
        signature=answer.signature,
        rerun=rerun,
        log=answer.log,
        emulated=emulated,
        plog=answer.plog,
        cpu_fallback=answer.cpu_fallback,
        worker=answer.worker,
        card=answer.card or None,
    )


def new_run(run_id: str, context: Context, checks: Sequence[Check], device: str, command: str) -> Run:
    """The run's own description, written before the first check."""
    return Run(
        run_id=run_id,
        started=now(),
        level=context.level,
        device=device,
        model_dir=shown_model_dir(context.model_dir),
        dtype=context.dtype,
        seed=context.seed,
        device_map=context.device_map,
        planned=tuple(check.name for check in checks),
        command=command,
        project=project(),
    )
