"""What the terminal shows of a campaign: a bar while it runs, then the matrix, and what was missed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from verify.report.campaign import Clean, Fault, Summary
from verify.run.screen import first_line

from .cases import Case
from .run import Job

UNBOUNDED = 160  # columns of the matrix in a log, where rich would fold it into 80


def said(job: Job, row: Any) -> str:
    """One line for a job that has ended."""
    if not isinstance(job, Case):
        reasons = "; ".join(f"{one['dtype']}: {first_line(one['reason'])}" for one in row if one["alarms"])
        return f"{'ALARM' if reasons else 'clean':<7} {job.id}  {reasons}".rstrip()
    if row["caught"]:
        layer = {None: "", True: "layer named", False: f"names {row['named_layer']}, not {row['layer']}"}[row["named"]]
        return f"caught  {job.id}  {row['check']}, {row['seconds']:.1f} s  {layer}".rstrip()
    if row["beyond_noise"] is not False:
        return f"MISSED  {job.id}  effect {row['effect']}"
    return f"below   {job.id}  moves outputs by {row['effect']:.2g} of the dtype's own noise"


class Screen:
    """A progress bar over all jobs; a line for each that ended."""

    def __init__(self, total: int) -> None:
        self._console = Console() if sys.stdout.isatty() else Console(width=UNBOUNDED)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task("runs", total=total)

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def take(self, job: Job, row: Any) -> None:
        self._console.print(said(job, row), markup=False, highlight=False, soft_wrap=True)
        self._progress.advance(self._task)

    def show(self, faults: Sequence[Fault], runs: Sequence[Clean], found: Summary) -> None:
        self._console.print(matrix(faults))
        lines = [
            f"missed: {fault.id}: {fault.missed_because} (effect {fault.effect})"
            for fault in faults
            if fault.counts and not fault.caught
        ]
        lines += [
            f"false alarm: {run.model}, seed {run.seed}, {run.dtype}: {first_line(run.reason)}"
            for run in runs
            if run.alarms
        ]
        for text in (*lines, sentence(found)):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def sentence(found: Summary) -> str:
    return (
        f"{found.caught} of {found.beyond_noise} wrong numbers beyond noise caught; "
        f"{found.events_ended} of {found.events} crashes and hangs ended as records and documents; "
        f"layer named right in {found.named} of {found.single_layer}; "
        f"{found.false_alarms} false alarms in {found.clean_runs} clean runs"
    )


def matrix(faults: Sequence[Fault]) -> Table:
    """A row a family: what was planted, what saw it, at which level, the layer named or not, how soon."""
    table = Table(box=None, pad_edge=False)
    for name in ("fault", "on", "cases", "beyond noise", "caught", "level", "first seen by", "layer named", "median s"):
        table.add_column(name)
    for family, on in dict.fromkeys((fault.family, fault.on) for fault in faults):
        group = [fault for fault in faults if (fault.family, fault.on) == (family, on)]
        caught = [fault for fault in group if fault.caught]
        named = [fault.named for fault in group if fault.named is not None]
        seconds = [fault.seconds for fault in caught if fault.seconds is not None]
        table.add_row(
            family,
            on,
            str(len(group)),
            str(sum(fault.beyond_noise is True for fault in group)),
            str(sum(fault.beyond_noise is True for fault in caught)),
            ", ".join(sorted({str(fault.level) for fault in caught})),
            ", ".join(f"{check} {number}" for check, number in Counter(f.check for f in caught).most_common()),
            f"{sum(named)} of {len(named)}" if named else "-",
            f"{median(seconds):.1f}" if seconds else "-",
        )
    return table
