"""`python -m verify`: run the checks of a level in the pinned environment, record each, print the verdict."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from env.arguments import Parser
from env.atomic import write_json
from env.device_name import DeviceName, require_cards
from env.ending import interrupt_once, nothing_left
from env.errors import (
    INTERRUPTED,
    EnvironmentMissingError,
    RecordError,
    UsageError,
    VerificationFailedError,
    VerificationIncompleteError,
    run_main,
)
from env.language import _, translate, user_language
from env.options import (
    BATCH_SIZE,
    DEVICE,
    DEVICE_MAP,
    DTYPE,
    LEVEL,
    MINUTES,
    OPT_IN,
    PROFILE,
    ROUNDS,
    SEED,
    SEQ_LEN,
    SETUP_FILE,
    STACK_OPTION,
    STRESS_DETECT,
    main_job_parser,
    nox_command,
    repeating,
    run_folder,
)
from env.stack import environment_name
from model.location import resolve_model_dir
from model.options import batch_size
from verify.run import engine, plan
from verify.run.context import Context
from verify.run.exclusive import only_one
from verify.run.provenance import shown_model_dir
from verify.run.records import SCHEMA, Record, Status, forget_records, read_evidence, write_run

if TYPE_CHECKING:
    from env.builder import Stamp

# What a check was run with, in the order in which its rerun command names it.
RERUN = (DEVICE, PROFILE, STACK_OPTION, LEVEL, MINUTES, DTYPE, DEVICE_MAP, SEED, SEQ_LEN, BATCH_SIZE, ROUNDS, *OPT_IN)


def new_run_id() -> str:
    """UTC time, so that names sort by age, and four hex digits, so that two runs never meet."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(2)


def planned(options: argparse.Namespace) -> tuple[plan.Check, ...]:
    """The checks of the level, with those that an option asks for.

    Raises:
        UsageError: what is asked for belongs to a higher level.
    """
    asked = [option for option in OPT_IN if getattr(options, option.name)]
    checks = plan.planned(options.level, [option.name for option in asked])
    for option in asked:
        level = next(check.level for check in plan.CHECKS if check.option == option.name)
        if level > options.level:
            raise UsageError(
                _("{option} is of level {level}", option=option.flag, level=level), next=f"--level {level}"
            )
    return checks


def selected(options: argparse.Namespace) -> list[plan.Check]:
    """The checks to run now: those of the level, or the ones named.

    Raises:
        UsageError: a name is no check of this level.
    """
    checks = planned(options)
    if not options.check:
        return list(checks)
    names = [check.name for check in checks]
    unknown = [name for name in options.check if name not in names]
    if unknown:
        raise UsageError(
            _("no check {names} at level {level}", names=", ".join(unknown), level=options.level),
            next=_("choose from: {names}", names=", ".join(names)),
        )
    return [check for check in checks if check.name in options.check]


def rerun_command(options: argparse.Namespace) -> Callable[[str], str]:
    """The exact command that runs one check again, from the options that differ from their defaults."""
    argv = [argument for option in RERUN for argument in option.to_argv(getattr(options, option.name))]
    if options.reference:
        argv += ["--reference", Path(options.reference).name]
    argv += ["--model-dir", shown_model_dir(resolve_model_dir(options.model_dir))]
    return lambda check: nox_command("verify", ["--check", check, *argv])


def setup_from_stamp(stamp: Stamp) -> dict[str, Any]:
    """What setup.json says where the environment was built by an earlier command."""
    names = ("profile", "stack", "python", "machine", "lock", "lock_sha256", "installer", "packages", "apart")
    return {
        "schema": SCHEMA,
        "status": "pass",
        "reason": "built by an earlier setup",
        "started": stamp.made,
        "seconds": 0.0,
        "command": "nox -s setup",
        "data": {name: msgspec.to_builtins(getattr(stamp, name)) for name in names},
    }


def refuse_another_run(folder: Path, context: Context) -> None:
    """Single checks join the records of a run only where they are made with its options.

    Raises:
        UsageError: the run in `folder` has other ones.
    """
    try:
        evidence = read_evidence(folder)
    except RecordError:
        return
    run = evidence.run
    if run is None:
        return
    signatures = [record.signature for record in evidence.records.values() if "seq_len" in record.signature]
    of_run: dict[str, Any] = {"level": run.level, "model_dir": run.model_dir, "dtype": run.dtype, "seed": run.seed}
    of_run |= {"device-map": run.device_map}
    now = {
        "level": context.level,
        "model_dir": shown_model_dir(context.model_dir),
        "dtype": context.dtype,
        "seed": context.seed,
        "device-map": context.device_map,
    }
    if signatures:  # run.json does not say what its inputs were; every check that took any does
        of_run |= {"batch-size": signatures[0].get("batch"), "seq-len": signatures[0]["seq_len"]}
        now |= {"batch-size": context.batch_size, "seq-len": context.seq_len}
    others = [
        _("{option} {of_run}, not {now}", option=name, of_run=of_run[name], now=value)
        for name, value in now.items()
        if of_run[name] != value
    ]
    if others:
        raise UsageError(
            _("{run} was made with {options}", run=folder.name, options=others),
            why=_("records of different runs must not stand in one document"),
            next=_("give the same options, or leave --run out"),
        )


def environment(profile: str, folder: Path) -> tuple[Path, Stamp]:
    """The built environment; where it is missing because the setup of this very run failed, the error says that.

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
            _("the setup of this run did not succeed: {reason}", reason=reason),
            why=missing.what,
            next=_("mend that, then nox -s setup"),
        ) from missing


def context_of(options: argparse.Namespace, folder: Path) -> Context:
    """The options of a run as its checks see them."""
    return Context(
        device=options.device,
        model_dir=resolve_model_dir(options.model_dir),
        dtype=options.dtype,
        seed=options.seed,
        level=options.level,
        run_folder=folder,
        batch_size=batch_size(options) or 1,
        seq_len=options.seq_len,
        rounds=options.rounds,
        reference=str(Path(options.reference).resolve()) if options.reference else None,
        minutes=options.minutes,
        device_map=options.device_map,
        gate=options.gate,
        stress_detect=options.stress_detect,
        vendor_diagnosis=options.vendor_diagnosis,
    )


def verify_each(options: argparse.Namespace, arguments: Sequence[str], command: str) -> int:
    """Verify several cards, each by itself; return the exit code of the machine's verdict.

    Raises:
        UsageError: what is asked for runs on one card at a time, or is of a higher level.
    """
    from env.setup import profile_for
    from verify import cards

    planned(options)
    if options.stress_detect:
        raise UsageError(
            _("{option} runs on one card at a time", option=STRESS_DETECT.flag),
            why=_("its maker allows no other job on the machine meanwhile"),
            next=_("--device npu:0 {option}, then the next card", option=STRESS_DETECT.flag),
        )
    folder = run_folder(options.results, options.run or new_run_id()).resolve()
    python, _stamp = environment(profile_for(options.profile, options.device, ascend_host=False), folder)
    with only_one(folder):
        return cards.verify(options, arguments, folder, python, command)


def verify(options: argparse.Namespace, command: str) -> int:
    """Run the checks; return the exit code that the verdict stands for."""
    checks = selected(options)
    folder = run_folder(options.results, options.run or new_run_id()).resolve()
    context = context_of(options, folder)
    if options.check:
        refuse_another_run(folder, context)
    with only_one(folder):
        return run_checks(options, checks, context, command)


def run_checks(options: argparse.Namespace, checks: Sequence[plan.Check], context: Context, command: str) -> int:
    """Run the checks in the folder of the run, which is no other verify's meanwhile; as `verify`."""
    from env.probe import probe
    from env.setup import profile_for
    from verify.run.screen import cautions, failures, screen
    from verify.run.verdict import judge

    folder = context.run_folder
    forget_records(folder, (check.name for check in checks))
    write_run(folder, engine.new_run(folder.name, context, planned(options), options.device, command))
    ascend = DeviceName.parse(options.device).kind is None and probe().ascend
    name = environment_name(profile_for(options.profile, options.device, ascend), options.stack)
    python, stamp = environment(name, folder)
    if not (folder / SETUP_FILE).exists():
        write_json(folder / SETUP_FILE, setup_from_stamp(stamp))
    records: list[Record] = []
    interrupted = False
    with screen(checks) as progress:

        def keep(step: engine.Progress) -> None:
            if step.record is not None:
                records.append(step.record)
            progress(step)

        try:
            engine.run_checks(checks, context, python, rerun_command(options), keep)
        except KeyboardInterrupt:
            interrupted = True
    for text in (*failures(records), *cautions(records)):
        print(text)
    verdict = judge(read_evidence(folder))
    print()
    print(translate(_("verdict: {line}", line=verdict.line(user_language()))))
    print(translate(_("records: {folder}", folder=os.path.relpath(folder))))
    if interrupted:
        return INTERRUPTED
    return exit_code_of(records) if options.check else verdict.exit_code


def exit_code_of(records: Sequence[Record]) -> int:
    """The exit code of a run of single checks: that of the worst of them, whatever the level would still ask for."""
    statuses = {record.status for record in records}
    if Status.FAIL in statuses:
        return VerificationFailedError.exit_code
    return 0 if records and statuses == {Status.PASS} else VerificationIncompleteError.exit_code


def make_parser() -> Parser:
    return main_job_parser(
        "python -m verify",
        _("Run the checks of a level and print the verdict."),
        own=("target", "run", "verify"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, command = make_parser().parse_args(arguments), repeating("verify", arguments)
    if options.device_map is not None:
        require_cards(options.device)
    elif DeviceName.parse(options.device).several:
        return verify_each(options, arguments, command)
    return verify(options, command)


if __name__ == "__main__":
    interrupt_once()
    with nothing_left():
        run_main(main)
