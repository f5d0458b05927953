"""The bench of kills, short: a job of the tests in place of the main one, and what it must call wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from env.stack import ROOT
from tests.verify.test_signals import NOXFILE
from verify.bench_kills import SIGNALS, TARGETS, Checkout, Kill, Outcome, carry_out, judged, kills, summary


class SmallCheckout(Checkout):
    """Where a job is the small run under nox, one second long."""

    def start(self, level: int, mark: str) -> subprocess.Popen[bytes]:
        noxfile = self.folder / "noxfile.py"
        noxfile.write_text(NOXFILE, encoding="utf-8")
        words = ["passes,fails,skips", "--run", "r1", "--results", str(self.results)]
        return subprocess.Popen(
            [sys.executable, "-m", "nox", "--noxfile", str(noxfile), "-s", "first", "--", *words], cwd=ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, mark: "1"}, start_new_session=True,
        )  # fmt: skip

    def seconds(self, level: int, fresh: bool) -> float:
        return 2.5


def test_every_signal_goes_to_every_target_and_a_seed_makes_the_same_kills() -> None:
    all_of_them = kills(240, 1)
    pairs = {(kill.signal, kill.target) for kill in all_of_them}
    assert pairs == {(number, target) for number in SIGNALS for target in TARGETS}
    assert kills(240, 1) == all_of_them != kills(240, 2)
    assert {kill.level for kill in all_of_them} == {1, 2}
    assert {kill.fresh for kill in all_of_them} == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "target"), [(signal.SIGTERM, "nox"), (signal.SIGKILL, "nox"), (signal.SIGKILL, "program")]
)
def test_a_kill_at_a_random_moment_leaves_nothing_wrong(tmp_path: Path, number: signal.Signals, target: str) -> None:
    checkout = SmallCheckout(tmp_path, 10.0)
    for kill in kills(2, seed=int(number)):
        outcome = carry_out(Kill(kill.number + 1, number, target, 1, False, kill.share), checkout)
        assert outcome.problems == []


def test_what_a_kill_may_not_leave_is_called_by_name(tmp_path: Path) -> None:
    kill = Kill(3, signal.SIGTERM, "nox", 1, False, 0.5)
    records = tmp_path / "results" / "r1" / "records"
    records.mkdir(parents=True)
    (tmp_path / "results" / "r1" / "run.json").write_text("{}", encoding="utf-8")
    (records / "load.json").write_text('{"half', encoding="utf-8")
    before = {records / "load.json": b"{}", records / "machine.json": b"{}"}
    stamp = tmp_path / ".venvs" / "tools" / "ready.json"
    stamp.parent.joinpath("bin").mkdir(parents=True)
    stamp.write_text("{}", encoding="utf-8")
    stamp.parent.joinpath("bin", "python").symlink_to("/bin/false")
    outcome = Outcome(kill, hit="nox", code=1, ended_s=11.0, last_s=12.0)
    problems = list(judged(outcome, before, Checkout(tmp_path, 1.0)))
    assert problems[:6] == [
        "nox ended with 1",
        "nox took 11 s to end",
        "a process was left for 12 s",
        "machine.json was lost",
        "load.json is another",
        "run.json is damaged: schema 1 required, None found",
    ]
    assert problems[6].startswith("load.json is damaged: ")
    assert problems[7:] == ["tools has a stamp and does not import"]
    outcome.problems = problems
    table = summary([outcome, Outcome(kill, hit="nox", code=130, ended_s=1.0, last_s=1.0, records=2, interrupted=1)])
    assert table.splitlines()[2].split() == ["SIGTERM", "nox", "2", "11.0", "11.0", "12.0", "2", "1", "1"]
    assert table.splitlines()[-1] == "2 kills, 0 after the end of the job, 1 left something wrong"
