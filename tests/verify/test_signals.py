"""What a signal to one process of the main job does to all of them, with nox itself and checks of the tests."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from env.stack import ROOT
from verify.run.records import Evidence, Status, read_evidence

LONGEST_S = 60.0  # that anything may take here, on a machine that does much else

# Two sessions: the first calls the small run as the front door calls verify, by the function that it is called by.
NOXFILE = f"""
import importlib.util, pathlib, sys
import nox
sys.path.insert(0, {str(ROOT)!r})
spec = importlib.util.spec_from_file_location("front_door", {str(ROOT / "noxfile.py")!r})
door = importlib.util.module_from_spec(spec)
spec.loader.exec_module(door)

@nox.session(venv_backend="none")
def first(session):
    session.chdir({str(ROOT)!r})
    door.call(session, sys.executable, "tests.verify.small_run", *session.posargs)

@nox.session(venv_backend="none")
def second(session):
    pathlib.Path(session.posargs[-1], "second").touch()
"""


class Job:
    """A main job whose second check never ends, and its processes."""

    def __init__(self, folder: Path, launcher: list[str]) -> None:
        self.run = folder / "r1"
        self.run.mkdir()
        os.mkfifo(self.run / "family")
        words = ["passes,has_a_family,skips", "--run", "r1", "--results", str(folder)]
        self.process = subprocess.Popen(
            [*launcher, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        with (self.run / "family").open() as told:  # until the check begins
            self.verify, self.worker, *self.family = map(int, told.read().split())
        self._watched = {pid: os.pidfd_open(pid) for pid in (self.verify, self.worker, *self.family)}

    def alive(self) -> list[int]:
        """Those that have not ended when nothing more happens."""
        return [pid for pid, watched in self._watched.items() if not select.select([watched], [], [], LONGEST_S)[0]]

    def evidence(self) -> Evidence:
        return read_evidence(self.run)

    def close(self) -> None:
        for pid, watched in self._watched.items():
            if not select.select([watched], [], [], 0)[0]:
                os.kill(pid, signal.SIGKILL)
            os.close(watched)


@pytest.fixture
def through_nox(tmp_path: Path) -> Iterator[Job]:
    noxfile = tmp_path / "noxfile.py"
    noxfile.write_text(NOXFILE, encoding="utf-8")
    job = Job(tmp_path, [sys.executable, "-m", "nox", "--noxfile", str(noxfile), "-s", "first", "second", "--"])
    yield job
    job.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path, [sys.executable, "-m", "tests.verify.small_run"])
    yield job
    job.close()


@pytest.mark.parametrize(
    ("number", "group", "code"),
    [
        (signal.SIGTERM, False, 130),  # docker stop, timeout, the cancel of a CI
        (signal.SIGINT, False, 130),
        (signal.SIGKILL, False, -signal.SIGKILL),  # and 10 s later
        (signal.SIGTERM, True, 130),  # systemd (KillMode=control-group)
        (signal.SIGINT, True, 130),  # Ctrl-C
    ],
)
def test_a_signal_to_nox_ends_all_and_the_check_that_ran_is_recorded(
    through_nox: Job, tmp_path: Path, number: signal.Signals, group: bool, code: int
) -> None:
    (os.killpg if group else os.kill)(through_nox.process.pid, number)
    _, errors = through_nox.process.communicate(timeout=LONGEST_S)
    assert through_nox.process.returncode == code
    assert "Traceback" not in errors
    assert through_nox.alive() == []
    evidence = through_nox.evidence()
    assert evidence.damaged == {}
    assert evidence.status("passes") is Status.PASS
    assert evidence.records["has_a_family"].reason == "interrupted"
    assert evidence.status("skips") is Status.NOT_RUN
    assert not (tmp_path / "second").exists()  # the next session is not begun


def test_verify_alone_killed_leaves_no_worker_and_nothing_of_its(alone: Job) -> None:
    alone.process.send_signal(signal.SIGKILL)
    alone.process.communicate(timeout=LONGEST_S)
    assert alone.alive() == []
    assert alone.evidence().status("passes") is Status.PASS
    assert alone.evidence().status("has_a_family") is Status.NOT_RUN


def test_a_worker_that_is_killed_costs_its_check_and_what_it_started_ends(alone: Job) -> None:
    os.kill(alone.worker, signal.SIGKILL)
    alone.process.communicate(timeout=LONGEST_S)
    assert alone.alive() == []
    evidence = alone.evidence()
    assert evidence.records["has_a_family"].reason.startswith("the worker was ended by SIGKILL")
    assert evidence.status("skips") is Status.SKIP


def test_further_signals_tear_up_no_record(alone: Job) -> None:
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        alone.process.send_signal(number)
    _, errors = alone.process.communicate(timeout=LONGEST_S)
    assert alone.process.returncode == 130, errors
    assert alone.evidence().records["has_a_family"].reason == "interrupted"
    assert alone.alive() == []


def test_a_second_verify_of_the_same_run_is_refused_and_the_first_goes_on(alone: Job, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.verify.small_run", "passes", "--run", "r1", "--results", str(tmp_path)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert second.returncode == 2
    assert second.stderr.startswith("error: another verify is working on r1\n")
    assert alone.process.poll() is None
    assert alone.evidence().status("passes") is Status.PASS
    alone.process.send_signal(signal.SIGKILL)
    alone.process.communicate(timeout=LONGEST_S)
    assert alone.alive() == []
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert again.returncode == 31, again.stderr  # the kernel has let go: no file to be removed by hand
