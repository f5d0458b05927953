"""The one way outside commands are run, so that tests replace it with captured output."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

NOT_FOUND = 127  # a shell's exit status for a command that does not exist
NOT_RUNNABLE = 126  # and for one that cannot be executed
TIMED_OUT = 124  # as coreutils' timeout reports it


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
    """Run `args` without a shell. A missing program gives 127, one that outlasts `timeout` seconds gives 124."""
    command = tuple(args)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            env=dict(environ) if environ is not None else None,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except (FileNotFoundError, NotADirectoryError):
        return Completed(command, NOT_FOUND, stderr=f"{command[0]}: command not found")
    except OSError as error:  # no permission, or made for another architecture
        return Completed(command, NOT_RUNNABLE, stderr=f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        return Completed(command, TIMED_OUT, stdout=out, stderr=f"{command[0]}: no answer in {timeout:g} s")
    return Completed(command, done.returncode, done.stdout, done.stderr)
