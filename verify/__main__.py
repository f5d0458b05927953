"""`python -m verify`: run the checks of a level in the pinned environment, record each, print the verdict."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from env.atomic import write_json
from env.errors import (
    INTERRUPTED,
    EnvironmentMissingError,
    RecordError,
    UsageError,
    VerificationFailedError,
    VerificationIncompleteError,
    run_main,
)
from env.options import SETUP_FILE, add_target_options, repeating, run_folder
from verify.options import add_verify_options, resolve_model_dir
from verify.run import engine, plan
from verify.run.context import Context
from verify.run.provenance import shown_model_dir
from verify.run.records import SCHEMA, Record, Status, forget_records, read_evidence, write_run


def new_run_id() -> str:
    """UTC time, so that names sort by age, and four hex digits, so that two runs never meet."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(2)


def selected(arguments: argparse.Namespace) -> list[plan.Check]:
    """The checks to run now: those of the level, or the ones named.

    Raises:
        UsageError: a name is no check of this level.
    """
    checks = plan.planned(arguments.level)
    if not arguments.check:
        return list(checks)
    names = [check.name for check in checks]
    unknown = [name for name in arguments.check if name not in names]
    if unknown:
        raise UsageError(
            f"no check {', '.join(unknown)} at level {arguments.level}", next=f"choose from: {', '.join(names)}"
        )
    return [check for check in checks if check.name in arguments.check]


def rerun_command(arguments: argparse.Namespace) -> Callable[[str], str]:
    """The exact command that runs one check again, from the options that differ from their defaults."""
    parser = make_parser()
    words = []
    for name in ("device", "profile", "level", "minutes", "dtype", "seed"):
        value = getattr(arguments, name)
        if value != parser.get_default(name):
            words += [f"--{name}", str(value)]
    if arguments.reference:
        words += ["--reference", Path(arguments.reference).name]
    words += ["--model-dir", shown_model_dir(resolve_model_dir(arguments.model_dir))]
    return lambda check: shlex.join(["nox", "-s", "verify", "--", "--check", check, *words])


def setup_from_stamp(stamp: Mapping[str, Any]) -> dict[str, Any]:
    """What setup.json says where the environment was built by an earlier command."""
    data = {
        key: stamp[key]
        for key in ("profile", "python", "machine", "lock", "lock_sha256", "installer", "packages", "apart")
    }
    return {
        "schema": SCHEMA,
        "status": "pass",
        "reason": "built by an earlier setup",
        "started": stamp["made"],
        "seconds": 0.0,
        "command": "nox -s setup",
        "data": data,
    }


def refuse_another_run(folder: Path, context: Context) -> None:
    """Single checks join the records of a run only where they are made with its options.

    Raises:
        UsageError: the run in `folder` has other ones.
    """
    try:
        run = read_evidence(folder).run
    except RecordError:
        return
    if run is None:
        return
    model_dir = shown_model_dir(context.model_dir)
    now = {"level": context.level, "model_dir": model_dir, "dtype": context.dtype, "seed": context.seed}
    others = [f"{name} {getattr(run, name)}, not {value}" for name, value in now.items() if getattr(run, name) != value]
    if others:
        raise UsageError(
            f"{folder.name} was made with {'; '.join(others)}",
            why="records of different runs must not stand in one document",
            next="give the same options, or leave --run out",
        )


def environment(profile: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The built environment; where it is missing because the setup of this very run failed, that is what is said.

    Raises:
        EnvironmentMissingError: as `builder.require`.
    """
    from env import builder  # what looks at machines and packages is not for --help

    try:
        return builder.require(profile)
    except EnvironmentMissingError as missing:
        try:
            setup = read_evidence(folder).setup
        except RecordError:
            setup = None
        if setup is None or setup.get("status") == Status.PASS.value:
            raise
        reason = str(setup.get("reason")).partition("\n")[0]
        raise EnvironmentMissingError(
            f"the setup of this run did not succeed: {reason}", why=missing.what, next="mend that, then nox -s setup"
        ) from missing


def verify(arguments: argparse.Namespace, command: str) -> int:
    """Run the checks; return the exit code that the verdict asks for."""
    from env.probe import probe
    from env.setup import profile_for
    from verify.run.screen import failures, screen
    from verify.run.verdict import judge

    checks = selected(arguments)
    folder = run_folder(arguments.results, arguments.run or new_run_id()).resolve()
    context = Context(
        device=arguments.device,
        model_dir=resolve_model_dir(arguments.model_dir),
        dtype=arguments.dtype,
        seed=arguments.seed,
        level=arguments.level,
        run_folder=folder,
        reference=str(Path(arguments.reference).resolve()) if arguments.reference else None,
        minutes=arguments.minutes,
    )
    if arguments.check:
        refuse_another_run(folder, context)
    forget_records(folder, (check.name for check in checks))
    write_run(folder, engine.new_run(folder.name, context, plan.planned(arguments.level), arguments.device, command))
    ascend = arguments.device == "auto" and probe().ascend
    python, stamp = environment(profile_for(arguments.profile, arguments.device, ascend), folder)
    if not (folder / SETUP_FILE).exists():
        write_json(folder / SETUP_FILE, setup_from_stamp(stamp))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    records: list[Record] = []
    interrupted = False
    with screen(checks) as progress:

        def keep(step: engine.Progress) -> None:
            if step.record is not None:
                records.append(step.record)
            progress(step)

        try:
            engine.run_checks(checks, context, python, rerun_command(arguments), keep)
        except KeyboardInterrupt:
            interrupted = True
    for text in failures(records):
        print(text)
    verdict = judge(read_evidence(folder))
    print(f"\nverdict: {verdict.line()}\nrecords: {shown(folder)}")
    if interrupted:
        return INTERRUPTED
    return exit_code_of(records) if arguments.check else verdict.exit_code


def exit_code_of(records: Sequence[Record]) -> int:
    """The exit code of a run of single checks: that of the worst of them, whatever the level would still ask for."""
    statuses = {record.status for record in records}
    if Status.FAIL in statuses:
        return VerificationFailedError.exit_code
    return 0 if records and statuses == {Status.PASS} else VerificationIncompleteError.exit_code


def shown(path: Path) -> str:
    """A path as the user would type it from here."""
    return os.path.relpath(path)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m verify", description="Run the checks of a level and print the verdict.", allow_abbrev=False
    )
    add_target_options(parser)
    add_verify_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = make_parser().parse_args(words)
    return verify(arguments, repeating("verify", words))


if __name__ == "__main__":
    run_main(main)
