"""Processes that are forked from this warm one where verify would start a Python and wait 12 s for its imports.

Only the start is replaced: the worker, its pipes, time limits, signals and death are the real ones. A process that has
computed is never forked from: the second process that repeatability starts is put aside, idle, before the first
check runs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from verify.checks import repeatability
from verify.run import child, worker

Main = Callable[[Sequence[str]], int]


class Forked:
    """A child that runs `main()` and exits with its code, with what verify uses of subprocess.Popen's interface."""

    def __init__(self, main: Callable[[], int], stdout: int, keep: Sequence[int] = ()) -> None:
        """Fork. In the child `stdout` takes what is printed, and every descriptor that is not in `keep` is closed."""
        read_end, write_end = os.pipe()
        self.returncode: int | None = None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(main, parent, read_end, stdout, keep)
        os.close(read_end)
        self.stdin = os.fdopen(write_end, "wb")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(BrokenPipeError):
                    self.stdin.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises: subprocess.TimeoutExpired."""
        if self.returncode is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                ended = select.select([descriptor], [], [], timeout)[0]
            finally:
                os.close(descriptor)
            if not ended:
                raise subprocess.TimeoutExpired(["a forked process"], timeout or 0.0)
            self.poll()
        assert self.returncode is not None
        return self.returncode


def _become(main: Callable[[], int], parent: int, stdin: int, stdout: int, keep: Sequence[int]) -> None:
    """The child's part of a fork: never returns."""
    code = 1
    try:
        os.setsid()
        worker.die_with_parent(parent)  # or a campaign that is killed would leave its runs behind
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(stdout, 2)
        low = 3
        for descriptor in [*sorted(set(keep)), os.sysconf("SC_OPEN_MAX")]:
            os.closerange(low, descriptor)
            low = descriptor + 1
        # Not to be closed with these objects, which a further fork replaces.
        sys.stdin = os.fdopen(0, "r", encoding="utf-8", closefd=False)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            binary = os.fdopen(descriptor, "wb", 0, closefd=False)
            setattr(sys, name, io.TextIOWrapper(binary, encoding="utf-8", write_through=True))
        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def start_worker(
    command: Sequence[str], *, stdout: io.BufferedWriter, pass_fds: Sequence[int], env: Mapping[str, str], **_: Any
) -> Forked:
    """In place of Popen in verify/run/child.py: `command` is python -m verify.run.worker and its arguments."""
    arguments = list(command[3:])

    def main() -> int:
        os.environ.update(env)
        _replace_subprocess(repeatability, run=Spare().run)
        return worker.main(arguments)

    return Forked(main, stdout.fileno(), keep=pass_fds)


class Spare:
    """An idle process, forked before anything was computed, that serves as the "other process" of repeatability."""

    def __init__(self) -> None:
        self._answers, answers = os.pipe()
        self._process = Forked(_serve_repeats, answers)
        os.close(answers)

    def run(self, command: Sequence[str], *, timeout: float, **_: Any) -> subprocess.CompletedProcess[str]:
        """In place of subprocess.run in verify/checks/repeatability.py, whose command line `command` is."""
        self._process.stdin.write(json.dumps(list(command[3:])).encode() + b"\n")
        self._process.stdin.close()
        output = b""
        while select.select([self._answers], [], [], timeout)[0]:
            block = os.read(self._answers, 1 << 16)
            if not block:
                code = self._process.wait(timeout)
                return subprocess.CompletedProcess(list(command), code, output.decode("utf-8", "replace"), "")
            output += block
        os.kill(self._process.pid, signal.SIGKILL)
        raise subprocess.TimeoutExpired(list(command), timeout)


def _serve_repeats() -> int:
    line = sys.stdin.readline()
    return repeatability.main(json.loads(line)) if line else 0


def _replace_subprocess(module: ModuleType, **functions: Any) -> None:
    """Let a module of verify's find these in place of subprocess's own."""
    names = {name: getattr(subprocess, name) for name in ("PIPE", "STDOUT", "TimeoutExpired")}
    vars(module)["subprocess"] = SimpleNamespace(**names, **functions)


def fork_workers() -> None:
    """From now on verify's workers are forked from this process."""
    _replace_subprocess(child, Popen=start_worker)
