"""The one way outside commands are run, so that tests replace it with captured output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

NOT_FOUND = 127  # a shell's exit status for a command that does not exist
NOT_RUNNABLE = 126  # and for one that cannot be executed
TIMED_OUT = 124  # as coreutils' timeout reports it
LAST_WORDS = 2.0  # seconds that a killed command has to be gone


@dataclass(frozen=True)
class Completed:
    """What a command left behind. Output is decoded as UTF-8 with replacement, so it never raises."""

    args: tuple[str, ...]
    returncode: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0


class Runner(Protocol):
    """Runs a command to its end and returns what it printed; never raises for the command's own failure."""

    def __call__(
        self, args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None
    ) -> Completed: ...


def run(args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None) -> Completed:
    """Run `args` without a shell. A missing program gives 127, one that outlasts `timeout` seconds gives 124.

    The limit holds whatever the command does: what it started is killed with it, and a process that a wedged driver
    keeps from dying (state D) is left behind.
    """
    command = tuple(args)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ) if environ is not None else None,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError):
        return Completed(command, NOT_FOUND, stderr=f"{command[0]}: command not found")
    except OSError as error:  # no permission, or made for another architecture
        return Completed(command, NOT_RUNNABLE, stderr=f"{command[0]}: {error.strerror}")
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        out = _kill(process)
        return Completed(command, TIMED_OUT, stdout=out, stderr=f"{command[0]}: no answer in {timeout:g} s")
    except BaseException:
        _kill(process)
        raise
    return Completed(command, process.returncode, out, err)


def _kill(process: subprocess.Popen[str]) -> str:
    """Kill a command with all that it started, and return what it had printed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=LAST_WORDS)[0]
    except subprocess.TimeoutExpired as error:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        printed = error.stdout or b""
        return printed.decode("utf-8", "replace") if isinstance(printed, bytes) else printed
