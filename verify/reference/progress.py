"""What stderr says while reference values are made: of a full-size model it takes minutes, of a small one seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from env.language import Message, _, translate

QUIET_S = 10.0  # at the beginning, and between two lines


def say(message: Message) -> None:
    """One line on stderr: in the user's language on a terminal, in English in a log."""
    print(translate(message) if sys.stderr.isatty() else message, file=sys.stderr, flush=True)


class Progress:
    """Passes of the reference, `total` of them. What takes no longer than `QUIET_S` says nothing."""

    def __init__(
        self,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[Message], None] = say,
    ) -> None:
        self._total, self._clock, self._show = total, clock, show
        self._done = 0
        self._started = self._shown = clock()

    def begin(self, name: str, parameters: int, dtype: str, threads: int) -> None:
        """Say what is begun: of a large model, whose first pass takes long."""
        self._show(
            _(
                "reference values of {name} on the CPU: {total} passes of {parameters:,} parameters in {dtype}, "
                "{threads} threads",
                name=name,
                total=self._total,
                parameters=parameters,
                dtype=dtype,
                threads=threads,
            )
        )

    def __call__(self, passes: int = 1) -> None:
        """`passes` more are done."""
        self._done += passes
        now = self._clock()
        if now - self._shown >= QUIET_S:
            self._shown = now
            self._show(
                _(
                    "reference values: {done} of {total} passes, {seconds:.0f} s",
                    done=self._done,
                    total=self._total,
                    seconds=now - self._started,
                )
            )
