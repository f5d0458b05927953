"""What the terminal shows of a campaign: a bar while it runs, then the matrix, and what was missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from verify.screen import first_line

from .cases import Case
from .run import Job


def said(job: Job, row: Any) -> str:
    """One line for a job that has ended."""
    if not isinstance(job, Case):
        reasons = "; ".join(f"{one['dtype']}: {first_line(one['reason'])}" for one in row if one["alarms"])
        return f"{'ALARM' if reasons else 'clean':<7} {job.id}  {reasons}".rstrip()
    if row["caught"]:
        layer = {None: "", True: "layer named", False: f"names {row['named_layer']}, not {row['layer']}"}[row["named"]]
        return f"caught  {job.id}  {row['check']}, {row['seconds']:.1f} s  {layer}".rstrip()
    if row["beyond_noise"]:
        return f"MISSED  {job.id}  effect {row['effect']}"
    return f"below   {job.id}  moves outputs by {row['effect']:.2g} of the dtype's own noise"


class Screen:
    """A progress bar over all jobs; a line for each that ended."""

    def __init__(self, total: int) -> None:
        self._console = Console()
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

    def show(self, kept: Mapping[str, Any]) -> None:
        self._console.print(matrix(kept["faults"]))
        for row in kept["faults"]:
            if row["beyond_noise"] and not row["caught"]:
                text = f"missed: {row['id']}: {row['missed_because']} (effect {row['effect']})"
                self._console.print(text, markup=False, soft_wrap=True)
        for row in kept["clean"]:
            if row["alarms"]:
                text = f"false alarm: {row['model']}, seed {row['seed']}, {row['dtype']}: {row['reason']}"
                self._console.print(text, markup=False, soft_wrap=True)
        self._console.print(sentence(kept["summary"]), markup=False, highlight=False, soft_wrap=True)


def sentence(figures: Mapping[str, int]) -> str:
    return (
        f"{figures['caught']} of {figures['beyond_noise']} cases beyond noise caught "
        f"({figures['cases'] - figures['beyond_noise']} of {figures['cases']} are within it); "
        f"{figures['events_ended']} of {figures['events']} crashes and hangs ended as records and documents; "
        f"layer named right in {figures['named']} of {figures['single_layer']}; "
        f"{figures['false_alarms']} false alarms in {figures['clean_runs']} clean runs"
    )


def matrix(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a family: what was planted, what saw it, at which level, the layer named or not, how soon."""
    table = Table(box=None, pad_edge=False)
    for name in ("fault", "on", "cases", "beyond noise", "caught", "level", "first seen by", "layer named", "median s"):
        table.add_column(name)
    families = dict.fromkeys((row["family"], row["on"]) for row in rows)
    for family, on in families:
        group = [row for row in rows if (row["family"], row["on"]) == (family, on)]
        beyond = [row for row in group if row["beyond_noise"]]
        seen = Counter(row["check"] for row in group if row["caught"])
        named = [row["named"] for row in group if row["named"] is not None]
        seconds = [row["seconds"] for row in group if row["caught"]]
        table.add_row(
            family,
            on,
            str(len(group)),
            str(len(beyond)),
            str(sum(row["caught"] for row in beyond)),
            ", ".join(sorted({str(row["level"]) for row in group if row["caught"]})),
            ", ".join(f"{check} {count}" for check, count in seen.most_common()),
            f"{sum(named)} of {len(named)}" if named else "-",
            f"{median(seconds):.1f}" if seconds else "-",
        )
    return table
