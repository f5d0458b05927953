"""A forked process behaves as the started one whose place it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from verify.faults.forked import Forked


def forked(main: Callable[[], int], output: Path) -> Forked:
    with output.open("wb") as file:
        return Forked(main, file.fileno())


def fails() -> int:
    raise RuntimeError("as planned")


def hangs() -> int:
    threading.Event().wait()
    return 0


def killed() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def echoes() -> int:
    print(sys.stdin.readline().upper(), end="")
    print("and an error", file=sys.stderr)
    return 7


@pytest.mark.parametrize(("main", "code"), [(echoes, 7), (fails, 1), (killed, -signal.SIGSEGV)])
def test_exit_codes_and_signals_are_told(main: Callable[[], int], code: int, tmp_path: Path) -> None:
    process = forked(main, tmp_path / "out")
    process.stdin.write(b"hello\n")
    process.stdin.close()
    assert process.wait(30) == code
    assert process.poll() == code


def test_it_reads_its_own_input_and_writes_its_own_output(tmp_path: Path) -> None:
    process = forked(echoes, tmp_path / "out")
    process.stdin.write(b"hello\n")
    process.stdin.close()
    process.wait(30)
    assert (tmp_path / "out").read_text() == "HELLO\nand an error\n"


def test_a_traceback_is_in_its_output(tmp_path: Path) -> None:
    process = forked(fails, tmp_path / "out")
    process.wait(30)
    assert "RuntimeError: as planned" in (tmp_path / "out").read_text()


def test_what_hangs_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    process = forked(hangs, tmp_path / "out")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    os.killpg(process.pid, signal.SIGKILL)  # it leads a process group of its own
    assert process.wait(30) == -signal.SIGKILL


def test_no_descriptor_but_those_named_is_inherited(tmp_path: Path) -> None:
    kept, closed = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)

    def looks() -> int:
        os.fstat(kept)
        try:
            os.fstat(closed)
        except OSError:
            return 0
        return 1

    with (tmp_path / "out").open("wb") as file:
        process = Forked(looks, file.fileno(), keep=(kept,))
    for descriptor in (kept, closed):
        os.close(descriptor)
    assert process.wait(30) == 0
