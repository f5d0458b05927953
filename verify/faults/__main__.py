"""Plant faults, run verify on each, and show which it sees: python -m verify.faults (nox -s faults).

The device is the emulated NPU, and a plain CPU for some. results/faults/faults.json keeps what was found;
`nox -s report -- --faults FILE` adds it to a run's documents.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from env.atomic import write_json
from env.errors import HostError, UsageError, VerificationFailedError, run_main
from env.npu_emulator.__main__ import environment
from env.npu_emulator.build import build
from env.npu_emulator.guard import real_npu
from env.npu_emulator.options import add_release_option
from verify.report.campaign import FAULTS_FILE, SCHEMA, Fault, Summary, count
from verify.report.campaign import Clean as CleanRun
from verify.run.engine import now
from verify.run.provenance import project

from . import cases, clean
from .cases import Case
from .run import Campaign, Folders, Job, starter

QUICK_SEEDS = 1
# What the campaign has to reach, as shares; besides, every event ends in order and no clean run alarms.
CAUGHT, NAMED = 0.98, 0.95


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m verify.faults", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--results", metavar="DIR", default="results/faults", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one case of most families, the part that the tests run")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name matches (*: any text)")
    parser.add_argument("--seeds", type=int, help=f"clean runs: so many seeds of each dtype (default: {clean.SEEDS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (default: one a core)")
    parser.add_argument("--fresh", action="store_true", help="do again what is known of this very code")
    parser.add_argument("--keep", action="store_true", help="keep the folder of every run (default: of the odd ones)")
    add_release_option(parser)
    return parser


def chosen(given: argparse.Namespace) -> list[Job]:
    """The jobs that were asked for, faults first.

    Raises:
        UsageError: there are none.
    """
    faults = [case for case in cases.read() if case.quick or not given.quick]
    seeds = given.seeds if given.seeds is not None else QUICK_SEEDS if given.quick else clean.SEEDS
    if given.only:
        faults = [case for case in faults if fnmatchcase(case.id, given.only)]
        seeds = given.seeds or 0
    jobs: list[Job] = [*faults, *clean.read(seeds)]
    if not jobs:
        raise UsageError(f"no case matches {given.only!r}", next="python -m verify.faults --only '*'")
    return jobs


def environments(release: str) -> dict[str, dict[str, str]]:
    """What a server on each kind of device is started with; one thread each, since the models are tiny."""
    reason = real_npu()
    if reason:
        raise HostError(f"faults are planted in an emulated NPU, and none starts here: {reason}")
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    plain = {**os.environ, **threads}
    return {"cpu": plain, "npu": environment(build(sys.executable, release), plain)}


def main(argv: Sequence[str] | None = None) -> int:
    given = make_parser().parse_args(argv)
    jobs = chosen(given)
    folders = Folders(Path(given.results).resolve())
    if given.fresh:
        for path in folders.outcomes.glob("*.json"):
            path.unlink()
    campaign = Campaign(folders, starter(environments(given.torch_npu)), Path(sys.prefix).name, keep=given.keep)
    started, clock = now(), time.monotonic()
    rows: dict[str, Any] = {}
    from .screen import Screen

    with Screen(len(jobs)) as screen:

        def done(job: Job, row: Any) -> None:
            rows[job.id] = row
            screen.take(job, row)

        campaign.run(jobs, given.jobs, done)
    kept: dict[str, Any] = {
        "schema": SCHEMA,
        "project": project(),
        "started": started,
        "seconds": round(time.monotonic() - clock, 1),
        "jobs": given.jobs,
        "versions": _versions(given.torch_npu),
        "sources_sha256": campaign.sources,
        "faults": [rows[job.id] for job in jobs if isinstance(job, Case)],
        "clean": [row for job in jobs if not isinstance(job, Case) for row in rows[job.id]],
    }
    faults, runs = [Fault(**row) for row in kept["faults"]], [CleanRun(**row) for row in kept["clean"]]
    found = count(faults, runs)
    write_json(folders.base / FAULTS_FILE, kept | {"summary": asdict(found)})
    screen.show(faults, runs, found)
    print(f"kept in {os.path.relpath(folders.base / FAULTS_FILE)}")
    return 0 if reached(faults, found) else VerificationFailedError.exit_code


def reached(faults: Sequence[Fault], found: Summary) -> bool:
    """Whether the campaign is what a pass may be believed by."""
    counted = [fault for fault in faults if fault.counts]
    return (
        sum(fault.caught for fault in counted) >= CAUGHT * len(counted)
        and found.named >= NAMED * found.single_layer
        and found.events_ended == found.events
        and found.false_alarms == 0
    )


def _versions(release: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers")} | {"torch-npu": release}


if __name__ == "__main__":
    run_main(main)
