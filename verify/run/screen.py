"""What the terminal shows while checks run: a live table, or a line a check where output is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import UNSET
from rich.console import Console
from rich.live import Live
from rich.table import Table

from env import terminal
from env.language import Message, _, translate
from verify.reference.figures import ReferenceFigures
from verify.run.engine import Progress
from verify.run.plan import Check
from verify.run.records import Record, Status

RUNNING, WAITING = _("running"), _("waiting")
STYLES = {Status.PASS: "green", Status.FAIL: "bold red", Status.ERROR: "red", Status.SKIP: "yellow"}


def first_line(text: str) -> str:
    return text.partition("\n")[0]


class Board:
    """The table of a run's checks: ended, running, waiting."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.checks = checks
        self.records: dict[str, Record] = {}
        self.running = ""
        self.doing: Message = Message("")
        self.since = 0.0

    def take(self, progress: Progress) -> None:
        if progress.record is not None:
            self.records[progress.check] = progress.record
            self.running = ""
        elif progress.doing is not None:
            self.doing = progress.doing
        else:
            self.doing = Message("")
            self.running, self.since = progress.check, time.monotonic()

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column(translate(_("check")))
        table.add_column(translate(_("level")), justify="right")
        table.add_column(translate(_("status")))
        table.add_column("s", justify="right")
        table.add_column(translate(_("reason")), overflow="ellipsis", no_wrap=True)
        for check in self.checks:
            record = self.records.get(check.name)
            if record is not None:
                style = STYLES[record.status]
                status, seconds, reason = f"[{style}]{record.status.value}[/]", f"{record.seconds:.1f}", record.reason
            elif check.name == self.running:
                status, seconds, reason = (
                    f"[cyan]{translate(RUNNING)}[/]",
                    f"{time.monotonic() - self.since:.0f}",
                    self.doing,
                )
            else:
                status, seconds, reason = f"[dim]{translate(WAITING)}[/]", "", ""
            text = terminal.shown(first_line(translate(reason))).replace("[", "\\[")
            table.add_row(check.name, str(check.level), status, seconds, text)
        return table


def line(record: Record) -> str:
    """One line for a record, as a log shows it."""
    reason = first_line(translate(record.reason))
    return f"{record.check:<12} {record.status.value:<5} {record.seconds:8.1f} s  {reason}".rstrip()


@contextmanager
def screen(checks: Sequence[Check]) -> Iterator[Callable[[Progress], None]]:
    """A callback that shows progress until the block ends."""
    console = Console(file=terminal.raw(sys.stdout))
    if not console.is_terminal:

        def print_line(progress: Progress) -> None:
            if progress.record is not None:
                print(line(progress.record), flush=True)
            elif progress.doing is not None:
                print(f"{progress.check:<12} {translate(RUNNING)}: {translate(progress.doing)}", flush=True)

        yield print_line
        return
    board = Board(checks)
    with Live(board, console=console, refresh_per_second=4):
        yield board.take


def cautions(records: Sequence[Record]) -> Iterator[str]:
    """What a run could not keep, once: it failed no check, and the next run pays for it."""
    references = (getattr(record.figures, "reference", None) for record in records)
    unkept = (one.unkept for one in references if isinstance(one, ReferenceFigures))
    for text in dict.fromkeys(translate(each) for each in unkept if each is not UNSET):
        yield translate(_("caution: {text}", text=text))


def failures(records: Sequence[Record]) -> Iterator[str]:
    """For each record that did not pass: why, the log's last lines, and the command that runs it again."""
    for record in records:
        if record.status in (Status.FAIL, Status.ERROR):
            known = record.data.get("doctor", ())
            yield f"\n{record.check}: {record.status.value}: {translate(record.reason)}"
            yield from (f"    | {text}" for text in (*record.log[-10:], *record.plog[-10:]))
            for failure in known:
                cause, fix = translate(failure["cause"]), translate(failure["fix"])
                yield translate(_("    known: {id}: {cause}", id=failure["id"], cause=cause))
                yield translate(_("    fix:   {fix}", fix=fix))
            yield translate(_("    again: {command}", command=record.rerun))
