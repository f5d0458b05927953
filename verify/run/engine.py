"""Runs the planned checks, each in a child with a time limit, and writes each record the moment its check ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from env import npu_emulator
from env.doctor import diagnose
from env.runner import run
from env.stack import ROOT
from verify.run.child import Child
from verify.run.context import Context
from verify.run.plan import Check, full_size
from verify.run.records import Record, Run, Status, write_record

VERSION_FILE = ROOT / "CHANGELOG.md"


@dataclass(frozen=True)
class Progress:
    """What the screen is told: a check begins (`record` is None) or has ended."""

    check: str
    record: Record | None = None


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def project() -> dict[str, Any]:
    """The bundle's own version (CHANGELOG.md's newest heading) and git commit; None where it is no checkout."""
    version = next(
        (
            line[3:].split()[0].strip("[]")
            for line in VERSION_FILE.read_text(encoding="utf-8").splitlines()
            if line.startswith("## ")
        ),
        "unknown",
    )
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    # Unpacked into another repository, git would name that one's commit.
    commit = run(command).stdout.strip() if (ROOT / ".git").exists() else ""
    return {"version": version, "commit": commit or None}


def run_checks(
    checks: Sequence[Check],
    context: Context,
    python: Path,
    rerun: Callable[[str], str],
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Record]:
    """Run `checks` in order. A worker that dies or hangs costs only its check: the next gets a new one.

    On KeyboardInterrupt the check that was running gets an error record, and the exception goes on.

    Raises:
        StorageError: a record cannot be written; those before it are kept.
    """
    records: list[Record] = []
    child: Child | None = None
    workers = 0
    full = full_size(context.model_dir, context.level)

    def keep(check: Check, started: str, value: Mapping[str, Any]) -> None:
        data = dict(value.get("data", {}))
        if value["status"] in (Status.FAIL.value, Status.ERROR.value):
            known = diagnose([*value.get("log", ()), value["reason"]])
            if known:
                data["doctor"] = [found.as_dict() for found in known]
        record = Record(
            check=check.name,
            level=check.level,
            status=Status(value["status"]),
            reason=value["reason"],
            started=started,
            seconds=value["seconds"],
            data=data,
            signature=value.get("signature", {}),
            rerun=rerun(check.name),
            log=tuple(value.get("log", ())),
            emulated=value.get(
                "emulated", bool(os.environ.get(npu_emulator.VARIABLE))
            ),  # a worker that died said nothing
        )
        write_record(context.run_folder, record)
        records.append(record)
        progress(Progress(check.name, record))

    try:
        for check in checks:
            progress(Progress(check.name))
            started, clock = now(), time.monotonic()
            try:
                if child is None or not child.alive:
                    workers += 1
                    child = Child(python, context, context.run_folder / "logs" / f"worker-{workers}.log")
                value = child.run(check, check.limit_for(full=full, minutes=context.minutes))
            except KeyboardInterrupt:
                seconds = round(time.monotonic() - clock, 3)
                keep(check, started, {"status": "error", "reason": "interrupted", "seconds": seconds})
                raise
            keep(check, started, value)
    finally:
        if child is not None:
            child.close()
    return records


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
        planned=tuple(check.name for check in checks),
        command=command,
        project=project(),
    )


def shown_model_dir(model_dir: str) -> str:
    """A stand-in's name, the path of a folder of this project, and of any other folder its name alone: a record names
    no path of the machine it was made on.
    """
    if model_dir.startswith("synthetic:"):
        return model_dir
    path = Path(model_dir)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
