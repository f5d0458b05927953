"""How a program ends: once, in time, with what it was writing, and with nothing left behind.

`docker stop` sends SIGTERM to one process and SIGKILL 10 s later; a Ctrl-C and systemd reach every process at once
(KillMode=control-group, systemd.kill(5)), and nox sends its child a SIGTERM after the Ctrl-C that the child had too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from env import guardian

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a terminal or an ssh session that is closed
ENDING_S = 7  # for what an interrupted program still has to record; the kernel ends it then
GRACE_S = 2.0  # for what an ended program left behind
PREFIX = "BUNDLE_PROCESSES_"  # of the variables that say to which programs a process belongs


class _State:
    """Of this process. (A signal mask would not do for `uninterrupted`: it is a thread's own; another thread takes the
    signal, and Python raises in the main one all the same.)
    """

    limit = ENDING_S
    interrupted = False
    blocked = False
    pending = False


def interrupt_once(limit: int = ENDING_S) -> None:
    """From now on each of `SIGNALS` interrupts this program as Ctrl-C does; it then ends within `limit` seconds.

    Further ones are ignored: they would tear up the record of the first. What was ignored stays so: SIGINT in the
    background of a shell, SIGHUP under nohup.
    """
    _State.limit = limit
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_State.limit)
    _State.interrupted = True
    if not _State.blocked:
        raise KeyboardInterrupt
    _State.pending = True


def interrupted() -> bool:
    """Whether a signal has interrupted this program, whatever became of the exception."""
    return _State.interrupted


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal that arrives in the block takes effect after it: what has been measured is written first.

    Raises:
        KeyboardInterrupt: at its end, where one arrived.
    """
    _State.blocked = True
    try:
        yield
    finally:
        _State.blocked = False
    if _State.pending:
        _State.pending = False
        raise KeyboardInterrupt


def new_mark() -> str:
    """An environment variable's name for the processes of one program: guardian.py ends those that carry it."""
    return PREFIX + secrets.token_hex(4)


@contextlib.contextmanager
def nothing_left(grace: float = GRACE_S) -> Iterator[None]:
    """Whatever is started in the block and outlives this process, however that ends, is ended.

    What is left has `grace` seconds from its SIGTERM to its SIGKILL. The end of the block ends it, too.
    """
    name = new_mark()
    os.environ[name] = "1"
    with contextlib.ExitStack() as stack:
        stack.callback(os.environ.pop, name, None)
        command = [sys.executable, "-I", str(Path(guardian.__file__).resolve()), name, str(grace), str(os.getpid())]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environ,
            cwd="/",
            start_new_session=True,
        )
        stack.callback(_dismiss, process, grace)
        yield


def _dismiss(process: subprocess.Popen[bytes], grace: float) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace + guardian.KILLED_S + 1)
