"""What the terminal shows of a campaign: a bar while it runs, then the matrix, and what was missed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from env import terminal
from env.language import Message, _, translate
from verify.report.campaign import Campaign, FaultOutcome, Summary
from verify.run.screen import first_line

from .run import Job, Row

UNBOUNDED = 160  # columns of the matrix in a log, where rich would fold it into 80


def line(job: Job, row: Row) -> Message:
    """One line for a job that has ended."""
    if not isinstance(row, FaultOutcome):
        alarms = [_("{dtype}: {reason}", dtype=run.dtype, reason=first_line(run.reason)) for run in row if run.alarms]
        if alarms:
            return _("ALARM   {id}  {alarms}", id=job.id, alarms=alarms)
        return _("clean   {id}", id=job.id)
    if row.caught:
        caught = _("caught  {id}  {check}, {seconds:.1f} s", id=job.id, check=row.check, seconds=row.seconds)
        if row.named is None:
            return caught
        if row.named:
            return _("{caught}  layer named", caught=caught)
        return _("{caught}  names {named}, not {layer}", caught=caught, named=row.named_layer, layer=row.layer)
    if row.beyond_noise is not False:
        return _("MISSED  {id}  effect {effect}", id=job.id, effect=row.effect)
    return _("below   {id}  moves outputs by {effect:.2g} of the dtype's own noise", id=job.id, effect=row.effect)


class Screen:
    """A progress bar over all jobs; a line for each that ended."""

    def __init__(self, total: int) -> None:
        out = terminal.raw(sys.stdout)
        self._console = Console(file=out) if sys.stdout.isatty() else Console(file=out, width=UNBOUNDED)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task(translate(_("runs")), total=total)

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def take(self, job: Job, row: Row) -> None:
        self._print(line(job, row))
        self._progress.advance(self._task)

    def show(self, campaign: Campaign) -> None:
        """The end of a campaign: its matrix, what was missed, false alarms, and the totals in a sentence."""
        self._console.print(matrix(campaign.faults))
        for fault in campaign.faults:
            if fault.counts and not fault.caught:
                self._print(
                    _("missed: {id}: {why} (effect {effect})", id=fault.id, why=fault.missed_because,
                      effect=fault.effect)
                )  # fmt: skip
        for run in campaign.clean:
            if run.alarms:
                self._print(
                    _("false alarm: {model}, seed {seed}, {dtype}: {reason}", model=run.model, seed=run.seed,
                      dtype=run.dtype, reason=first_line(run.reason))
                )  # fmt: skip
        for row in campaign.summary.measured:
            self._print(
                _("{name} ({share:.1f} % of measured corruption): {caught} of {beyond_noise} beyond noise caught, "
                  "{cases} planted", name=Message(row.name), share=100 * row.share, caught=row.caught,
                  beyond_noise=row.beyond_noise, cases=row.cases)
            )  # fmt: skip
        if campaign.summary.weighted is not None:
            self._print(
                _("weighted by these shares: {share:.1f} % of silent corruption beyond noise caught",
                  share=100 * campaign.summary.weighted)
            )  # fmt: skip
        self._print(sentence(campaign.summary))

    def _print(self, message: Message) -> None:
        self._console.print(translate(message), markup=False, highlight=False, soft_wrap=True)


def sentence(summary: Summary) -> Message:
    return _(
        "{caught} of {beyond_noise} wrong numbers beyond noise caught; "
        "{events_ended} of {events} crashes and hangs ended as records and documents; "
        "layer named right in {named} of {single_layer}; "
        "{false_alarms} false alarms in {clean_runs} clean runs",
        caught=summary.caught,
        beyond_noise=summary.beyond_noise,
        events_ended=summary.events_ended,
        events=summary.events,
        named=summary.named,
        single_layer=summary.single_layer,
        false_alarms=summary.false_alarms,
        clean_runs=summary.clean_runs,
    )


COLUMNS = (
    _("fault"),
    _("on"),
    _("cases"),
    _("beyond noise"),
    _("caught"),
    _("level"),
    _("first seen by"),
    _("layer named"),
    _("median s"),
)


def matrix(faults: Sequence[FaultOutcome]) -> Table:
    """A row a family: what was planted, what saw it, at which level, the layer named or not, how soon."""
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(translate(column))
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
            translate(_("{n} of {total}", n=sum(named), total=len(named))) if named else "-",
            f"{median(seconds):.1f}" if seconds else "-",
        )
    return table
