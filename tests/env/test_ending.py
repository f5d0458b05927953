"""How programs end: one signal, in time, with nothing torn and nothing left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from env.stack import ROOT

LONGEST_S = 60.0


def python(code: str) -> subprocess.Popen[str]:
    """A program that says when it may be sent a signal."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[int, str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in signals:
        process.send_signal(number)
    out = process.stdout.read()  # communicate() would not see what the first line was read with
    process.communicate(timeout=LONGEST_S)
    return process.returncode, out


WAITING = """
import os, signal, threading
from env import ending
from env.errors import run_main
{before}
ending.interrupt_once()
def main():
    try:
        print("ready", flush=True)
        threading.Event().wait()
    finally:
        print("recorded", flush=True)
        {ending}
run_main(main)
"""


@pytest.mark.parametrize(
    ("before", "ends", "signals", "expected"),
    [
        ("", "", [signal.SIGTERM], (130, "recorded\n")),
        ("", "", [signal.SIGINT], (130, "recorded\n")),
        ("", "", [signal.SIGHUP], (130, "recorded\n")),
        ("", "signal.raise_signal(signal.SIGTERM)", [signal.SIGTERM], (130, "recorded\n")),
        ("", "signal.raise_signal(signal.SIGINT)", [signal.SIGTERM], (130, "recorded\n")),
        (  # the background of a shell
            "signal.signal(signal.SIGINT, signal.SIG_IGN)", "", [signal.SIGINT, signal.SIGTERM], (130, "recorded\n"),
        ),
        (  # what never ends is ended by the kernel
            "ending.interrupt_once.__defaults__ = (1,)", "threading.Event().wait()",
            [signal.SIGTERM], (-signal.SIGALRM, "recorded\n"),
        ),
    ],
    ids=["term", "int", "hup", "twice", "both", "background", "stuck"],
)  # fmt: skip
def test_a_program_is_interrupted_once(
    before: str, ends: str, signals: list[signal.Signals], expected: tuple[int, str]
) -> None:
    assert outcome(python(WAITING.format(before=before, ending=ends or "pass")), *signals) == expected


WRITING = """
import signal
from env import ending
from env.errors import run_main
ending.interrupt_once()
def main():
    print("ready", flush=True)
    with ending.uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        print("written", flush=True)
    print("never", flush=True)
run_main(main)
"""


def test_what_is_being_written_is_written_first() -> None:
    assert outcome(python(WRITING)) == (130, "written\n")


LEAVING = """
import os, subprocess, sys
from env.ending import nothing_left
with nothing_left(grace=0.5):
    command = [sys.executable, "-c", {child!r}]
    left = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    left.stdout.readline()
    print(left.pid, flush=True)
    sys.stdin.readline()
    {end}
"""
OBEDIENT = "import threading; print('ready', flush=True); threading.Event().wait()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"


@pytest.mark.parametrize("child", [OBEDIENT, STUBBORN], ids=["obedient", "stubborn"])
@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_nothing_outlives_a_program_however_it_ends(child: str, end: str) -> None:
    process = python(LEAVING.format(child=child, end=end))
    assert process.stdout is not None
    left = os.pidfd_open(int(process.stdout.readline()))
    process.communicate("\n", timeout=LONGEST_S)
    ended = select.select([left], [], [], LONGEST_S)[0]
    if not ended:
        signal.pidfd_send_signal(left, signal.SIGKILL)
    os.close(left)
    assert ended
