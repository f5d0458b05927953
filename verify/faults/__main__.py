"""Plant faults, run verify on each, and show which it sees: python -m verify.faults (nox -s faults)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

import msgspec

from env.arguments import Parser
from env.atomic import write_json
from env.ending import interrupt_once, nothing_left
from env.errors import HostError, UsageError, VerificationFailedError, run_main
from env.language import Message, _, translate
from env.npu_emulator.__main__ import environment
from env.npu_emulator.build import build
from env.npu_emulator.chips import load_emulated_chips
from env.npu_emulator.guard import real_npu
from env.npu_emulator.options import TORCH_NPU, has_gelu_switch
from env.options import Option
from verify.report.campaign import FAULTS_FILE, SCHEMA, Campaign, FaultOutcome, Project, Summary, count
from verify.run.engine import now
from verify.run.provenance import project

from . import cases, clean
from .run import Folders, Job, Row, Runner, starter

QUICK_SEEDS = 1
CHIP = Option(
    "--chip",
    _("the chip that is emulated (default: %(default)s)"),
    # The others have neither bfloat16 nor a float32 product, which is what the cases are seen in.
    {"default": "910B4", "choices": [name for name, chip in load_emulated_chips().items() if chip.family.bfloat16]},
)
# What the campaign has to reach, as shares; besides, every event ends in order and no clean run alarms.
CAUGHT, NAMED = 0.98, 0.95


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m verify.faults",
        description=_(
            "Plant faults, run verify on each, and show which it sees: python -m verify.faults (nox -s faults).\n\n"
            "The device is the emulated NPU, and a plain CPU for some. results/faults/faults.json keeps what was "
            "found;\n`nox -s report -- --faults FILE` adds it to a run's documents.\n"
        ),
    )
    parser.add_argument("--results", metavar="DIR", default="results/faults", help=_("default: %(default)s"))
    parser.add_argument(
        "--quick", action="store_true", help=_("one case of most families, the part that the tests run")
    )
    parser.add_argument("--only", metavar="PATTERN", help=_("cases whose name matches (*: any text)"))
    parser.add_argument(
        "--seeds", type=int, help=_("clean runs: so many seeds of each dtype (default: {seeds})", seeds=clean.SEEDS)
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help=_("runs at a time (default: one a core)"))
    parser.add_argument("--fresh", action="store_true", help=_("do again what is known of this very code"))
    parser.add_argument(
        "--keep", action="store_true", help=_("keep the folder of every run (default: of the odd ones)")
    )
    TORCH_NPU.add(parser)
    CHIP.add(parser)
    return parser


def chosen(options: argparse.Namespace) -> list[Job]:
    """The jobs that the options name, faults first.

    Raises:
        UsageError: there are none.
    """
    switched = has_gelu_switch(options.torch_npu)
    faults = [case for case in cases.read() if (case.quick or not options.quick) and (switched or not case.switch)]
    seeds = options.seeds if options.seeds is not None else QUICK_SEEDS if options.quick else clean.SEEDS
    if options.only:
        faults = [case for case in faults if fnmatchcase(case.id, options.only)]
        seeds = options.seeds or 0
    jobs: list[Job] = [*faults, *clean.read(seeds)]
    if not jobs:
        raise UsageError(
            _("no case matches {pattern}", pattern=repr(options.only)), next="python -m verify.faults --only '*'"
        )
    return jobs


def environments(release: str, chip: str) -> dict[str, dict[str, str]]:
    """What a server on each kind of device is started with; one thread each, since the models are tiny.

    Raises:
        HostError: the machine has a real NPU, or a real CANN.
    """
    reason = real_npu()
    if reason:
        raise HostError(_("faults are planted in an emulated NPU, and none starts here: {reason}", reason=reason))
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    cpu = {**os.environ, **threads}
    shape = {**load_emulated_chips()[chip].variables, "NPU_EMU_COUNT": str(cases.CARDS)}
    return {"cpu": cpu, "npu": environment(build(sys.executable, release), {**cpu, **shape})}


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    jobs = chosen(options)
    folders = Folders(Path(options.results).resolve())
    if options.fresh:
        for path in folders.outcomes.glob("*.json"):
            path.unlink()
    made_with = {name: version(name) for name in ("torch", "transformers")}
    made_with |= {"torch-npu": options.torch_npu, "chip": options.chip}
    start = starter(environments(options.torch_npu, options.chip))
    runner = Runner(folders, start, Path(sys.prefix).name, keep=options.keep, made_with=made_with)
    started, clock = now(), time.monotonic()
    rows: dict[str, Row] = {}
    from .screen import Screen  # rich: not for --help

    with Screen(len(jobs)) as screen:

        def done(job: Job, row: Row) -> None:
            rows[job.id] = row
            screen.take(job, row)

        runner.run(jobs, options.jobs, done)
    ended = [rows[job.id] for job in jobs]
    faults = tuple(row for row in ended if isinstance(row, FaultOutcome))
    runs = tuple(run for row in ended if not isinstance(row, FaultOutcome) for run in row)
    campaign = Campaign(
        schema=SCHEMA,
        project=msgspec.convert(project(), Project),
        started=started,
        seconds=round(time.monotonic() - clock, 1),
        jobs=options.jobs,
        versions=_versions(options.torch_npu),
        sources_sha256=runner.sources,
        faults=faults,
        clean=runs,
        summary=count(faults, runs),
        chip=options.chip,
    )
    write_json(folders.base / FAULTS_FILE, msgspec.to_builtins(campaign))
    screen.show(campaign)
    print(translate(shares(campaign)))
    print(translate(_("kept in {file}", file=os.path.relpath(folders.base / FAULTS_FILE))))
    return 0 if reached(faults, campaign.summary) else VerificationFailedError.exit_code


def shares(campaign: Campaign) -> Message:
    """What is asked of a campaign as shares, and what it was run on."""
    counted = [fault for fault in campaign.faults if fault.counts]
    summary = campaign.summary
    return _(
        "{chip}, torch-npu {torch_npu}: {caught:.1%} caught ({least_caught:.0%} asked for), "
        "{named:.1%} of layers named ({least_named:.0%}), {alarms} false alarms in {runs} runs (none)",
        chip=campaign.chip,
        torch_npu=campaign.versions["torch-npu"],
        caught=sum(fault.caught for fault in counted) / len(counted) if counted else 1.0,
        least_caught=CAUGHT,
        named=summary.named / summary.single_layer if summary.single_layer else 1.0,
        least_named=NAMED,
        alarms=summary.false_alarms,
        runs=summary.clean_runs,
    )


def reached(faults: Sequence[FaultOutcome], summary: Summary) -> bool:
    """Whether the campaign is what a pass may be believed by."""
    counted = [fault for fault in faults if fault.counts]
    return (
        sum(fault.caught for fault in counted) >= CAUGHT * len(counted)
        and summary.named >= NAMED * summary.single_layer
        and summary.events_ended == summary.events
        and summary.false_alarms == 0
    )


def _versions(release: str) -> dict[str, str | None]:
    return {**{name: version(name) for name in ("torch", "transformers")}, "torch-npu": release}


if __name__ == "__main__":
    interrupt_once()
    with nothing_left():
        run_main(main)
