"""The vendor's hccl_test beside our all-reduce: what is run, what its rows mean, and that NULL is no pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from env import hccl_test, npu_emulator
from env.device_name import DeviceName
from env.hccl_test import Row
from env.runner import Completed
from tests.verify.test_cards import machine_of
from verify import hccl
from verify.report import cards as comparison
from verify.run.cards import LINKS_FILE, HcclTest, machine
from verify.run.verdict import Word

# As CANN's HCCL Test prints it, its spelling of the average included.
ANSWER = """\
the minbytes is 1024, maxbytes is 67108864, iters is 20, warmup_iters is 10
data_size(Bytes): | aveg_time(us): | alg_bandwidth(GB/s): | check_result:
1024              | 29.40          | 0.03483              | success
16384             | 31.10          | 0.52682              | {word}
67108864          | 700.00         | 95.86980             | success
"""
CARDS = [DeviceName.parse("npu:0"), DeviceName.parse("npu:1")]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The vendor's folder and that of MPI, with both tools in them."""
    home, mpi = tmp_path / "Ascend", tmp_path / "local"
    for path in (home / "cann" / hccl_test.PROGRAM, mpi / "mpich-4.1.3" / "bin" / "mpirun"):
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
    return home, mpi


def measured(places: tuple[Path, Path], done: Completed, **environ: str) -> tuple[HcclTest, list[tuple[Any, Any]]]:
    calls: list[tuple[Any, Any]] = []

    def run(args: Sequence[str], *, timeout: float = 10.0, environ: Any = None) -> Completed:
        if args[0] == "npu-smi":
            return Completed(tuple(args), 127)
        calls.append((tuple(args), environ))
        return done

    return hccl.measure(CARDS, run, environ, *places), calls


def test_rows_are_read_by_their_columns() -> None:
    assert hccl_test.parse(ANSWER.format(word="NULL")) == [
        Row(1024, 29.4, 0.03483, "success"),
        Row(16384, 31.1, 0.52682, "NULL"),
        Row(67108864, 700.0, 95.8698, "success"),
    ]
    assert hccl_test.parse("nothing | of | it | here\n" + "1" * 500) == []


def test_it_is_run_on_the_machines_own_numbers_and_its_rate_becomes_that_of_the_bus(places: tuple[Path, Path]) -> None:
    figures, calls = measured(places, Completed((), 0, ANSWER.format(word="success")), ASCEND_RT_VISIBLE_DEVICES="6,7")
    ((command, environ),) = calls
    assert command[0] == str(places[1] / "mpich-4.1.3" / "bin" / "mpirun")
    assert " ".join(command[4:]) == "-p 2 -b 1024 -e 67108864 -f 16 -d fp32 -o sum -c 1"
    assert environ == {"HCCL_TEST_USE_DEVS": "6,7"}
    assert figures.rows[-1].gb_s == pytest.approx(95.8698)  # 2 (n - 1) / n is 1 for two cards
    assert (figures.problem, figures.remark) == (None, None)


@pytest.mark.parametrize(
    ("done", "remark"),
    [
        (Completed((), 1, "", "hccl init failed"), "hccl_test not read: hccl_test did not end well: hccl init failed"),
        (Completed((), 0, "HCCL_TEST_USE_DEVS: 6,7\n"), "hccl_test not read: no row in hccl_test's answer"),
        (Completed((), 0, ANSWER.format(word="NULL")), "hccl_test did not check 1 of 3 sums"),
    ],
)
def test_what_was_not_checked_is_told(places: tuple[Path, Path], done: Completed, remark: str) -> None:
    figures, _calls = measured(places, done)
    assert (figures.problem, str(figures.remark)) == (None, remark)


def test_nothing_is_run_from_anywhere_else(places: tuple[Path, Path], tmp_path: Path) -> None:
    done = Completed((), 0, ANSWER.format(word="success"))
    for there in ((tmp_path / "none", places[1]), (places[0], tmp_path / "none")):
        figures, calls = measured(there, done)
        assert (calls, "is not in" in str(figures.unread)) == ([], True)
    figures, calls = measured(places, done, **{npu_emulator.VARIABLE: "1"})
    assert (calls, str(figures.unread)) == ([], "emulated cards have no HCCL")


@pytest.mark.parametrize(
    ("word", "verdict", "line"),
    [
        ("success", Word.VERIFIED, None),
        ("NULL", Word.VERIFIED, "hccl_test did not check 1 of 1 sums"),
        ("failed", Word.FAILED, "hccl_test: wrong sums at 1024 bytes"),
    ],
)
def test_a_sum_that_is_wrong_by_the_vendors_word_fails_the_machine(
    tmp_path: Path, word: str, verdict: Word, line: str | None
) -> None:
    folder, cards = machine_of(tmp_path, "npu-verified", "npu-verified")
    theirs = {"rows": [{"bytes": 1024, "gb_s": 0.03, "word": word}], "unread": None}
    links = {"backend": "hccl", "cards": ["npu:0", "npu:1"], "rows": [], "problem": None, "hccl_test": theirs}
    (folder / LINKS_FILE).write_text(json.dumps(links))
    worst, told = machine(folder, cards)
    assert worst is verdict
    assert line is None or line in str(told)
    text = comparison.render(folder, cards, "en")
    assert f"| 1,024 | 0.03 | {word} |" in text
