"""What stderr says while reference values are made: of a full-size model it takes minutes, of a small one seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from env.language import Message, _, translate

LISTENERS: list[Callable[[Message], None]] = []  # who else is told: a worker's parent, whose terminal people look at
QUIET_S = 10.0  # at the beginning, and between two lines


def say(message: Message) -> None:
    """One line on stderr: in the user's language on a terminal, in English in a log."""
    print(translate(message) if sys.stderr.isatty() else message, file=sys.stderr, flush=True)
    for listener in LISTENERS:
        listener(message)


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


class WordsProgress:
    """Texts of the reference: a pass a token, and how many there will be nobody knows. Quiet as `Progress` is."""

    def __init__(
        self,
        clips: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[Message], None] = say,
    ) -> None:
        self._clips, self._clock, self._show = clips, clock, show
        self._clip, self._passes, self._dtype = 0, 0, ""
        self._started = self._shown = clock()

    def begin(self, name: str, parameters: int, dtype: str, threads: int) -> None:
        """Say what is begun: of a large model."""
        self._show(
            _(
                "reference texts of {name} on the CPU: {clips} clips, {parameters:,} parameters in {dtype}, "
                "{threads} threads",
                name=name,
                clips=self._clips,
                parameters=parameters,
                dtype=dtype,
                threads=threads,
            )
        )

    def at(self, clip: int, dtype: str = "") -> None:
        """Clip `clip`, from 0, is next: its text, or with a `dtype` the noise of that."""
        self._clip, self._dtype, self._passes = clip + 1, dtype, 0

    def __call__(self) -> None:
        """A pass is done."""
        self._passes += 1
        now = self._clock()
        if now - self._shown < QUIET_S:
            return
        self._shown = now
        fields = {"clip": self._clip, "clips": self._clips, "seconds": now - self._started}
        if self._dtype:
            self._show(_("noise of {dtype}: clip {clip} of {clips}, {seconds:.0f} s", dtype=self._dtype, **fields))
        else:
            text = _(
                "reference text {clip} of {clips}: {tokens} tokens, {seconds:.0f} s", tokens=self._passes, **fields
            )
            self._show(text)
