"""What a program prints beside its results: notes and a progress bar, both on stderr, and texts of several lines."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from env import terminal
from env.language import Message, _, translate


def note(text: str) -> None:
    """Print a note on stderr, in the user's language: stdout is for results."""
    print(translate(_("note: {text}", text=text)), file=sys.stderr, flush=True)


def lines(*parts: str, before: str = "\n") -> Message:
    """Several messages as one text, `before` in front of each but the first."""
    names = [f"line{number}" for number in range(len(parts))]
    return Message(before.join(f"{{{name}}}" for name in names), **dict(zip(names, parts, strict=True)))


TELL_EVERY = 30.0  # seconds between lines of progress where no bar can be drawn: a log shows that a run is alive


class Bar:
    """A progress bar on stderr; where that is no terminal, a line now and then. `in_seconds`: its total is seconds of
    audio, else a count.
    """

    def __init__(
        self, label: str, total: float | None = None, *, in_seconds: bool = False, visible: bool = True
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        drawn = sys.stderr.isatty()
        self._in_seconds = in_seconds
        self._tells = visible and not drawn
        self._ended = threading.Event()
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} s") if in_seconds else MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=terminal.raw(sys.stderr)),
            redirect_stdout=sys.stdout.isatty(),  # else a pipe's text would land on the terminal
            disable=not (visible and drawn),
        )
        self._task = self._progress.add_task(translate(label), total=total)

    def __enter__(self) -> Bar:
        self._started = time.monotonic()
        self._progress.start()
        if self._tells:
            threading.Thread(target=self.keep_telling, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._progress.stop()

    def keep_telling(self) -> None:
        """A line every TELL_EVERY seconds until the bar ends, however long one step takes."""
        while not self._ended.wait(TELL_EVERY):
            note(self.line())

    def line(self) -> Message:
        """How far it is."""
        task = self._progress.tasks[0]
        fields = {
            "label": task.description,
            "done": task.completed,
            "total": "?" if task.total is None else task.total,
            "spent": time.monotonic() - self._started,
        }
        if self._in_seconds:
            return _("{label}: {done:.0f} of {total:.0f} s of audio after {spent:.0f} s", **fields)
        return _("{label}: {done:.0f} of {total:.0f} after {spent:.0f} s", **fields)

    def set_total(self, total: float) -> None:
        self._progress.update(self._task, total=total)

    def set_label(self, label: str) -> None:
        self._progress.update(self._task, description=translate(label))

    def advance(self, amount: float = 1.0) -> None:
        self._progress.advance(self._task, amount)
