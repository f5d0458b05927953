"""The part of the campaign that runs with the tests, and how a campaign is stopped and goes on."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from env.errors import InstallError, UsageError
from env.stack import ROOT
from tests.env.npu_emulator.needed import needs_emulator
from verify.faults import __main__ as program
from verify.faults.cases import Case
from verify.faults.clean import CleanSeed
from verify.faults.run import Folders, Job, Row, Runner, Server, _ran
from verify.report.campaign import CleanOutcome, FaultOutcome, count, parse

TEXT = (ROOT / "tests/data/report/emulated-faults/faults.json").read_text(encoding="utf-8")
CASE = Case("a case", "a family", "something", "npu", ())


class Scripted(Runner):
    """A campaign whose jobs are done here; `todo` says what comes of each."""

    def __init__(self, folder: Path, todo: Mapping[str, Row | BaseException]) -> None:
        super().__init__(Folders(folder), lambda on, log: Idle(), "dev")
        self.todo = dict(todo)

    def _do(self, job: Job, server: Server) -> Row:
        row = self.todo.pop(job.id)
        if isinstance(row, BaseException):
            raise row
        return row


class Idle(Server):
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


FAULT = FaultOutcome("id", "family", "what", "npu", True, "a layer", "number", 9.0, True, True, "layers", 2, "", True,
                     "a layer", 1.0, 3, True, "failed", None)  # fmt: skip
RUN = CleanOutcome("synthetic:tiny", 1, "float32", "cpu", ("tokens",), "", 12, 1.0)
JOBS: list[Job] = [CASE, CleanSeed("synthetic:tiny", 1), CleanSeed("synthetic:tiny", 2)]


def test_what_is_done_is_kept_and_not_done_again(tmp_path: Path) -> None:
    ended: list[tuple[str, Row]] = []
    second, third = (RUN, RUN), (replace(RUN, seed=2),)
    first = Scripted(tmp_path, {JOBS[0].id: FAULT, JOBS[1].id: RuntimeError("the power went out")})
    with pytest.raises(RuntimeError, match="the power went out"):
        first.run(JOBS, 1, lambda job, row: ended.append((job.id, row)))
    again = Scripted(tmp_path, {JOBS[1].id: second, JOBS[2].id: third})
    again.run(JOBS, 2, lambda job, row: ended.append((job.id, row)))
    assert ended[:2] == [(JOBS[0].id, FAULT)] * 2
    assert dict(ended[2:]) == {JOBS[1].id: second, JOBS[2].id: third}
    assert again.todo == {}
    assert again.known(JOBS[1]) == second


def test_what_other_code_gave_is_measured_again(tmp_path: Path) -> None:
    runner = Scripted(tmp_path, {CASE.id: FAULT})
    runner.run([CASE], 1, lambda job, row: None)
    assert runner.known(CASE) == FAULT
    runner.made_with = {"torch-npu": "2.9.0.post2"}
    assert runner.known(CASE) is None
    runner.made_with = {}
    runner.sources = "changed"
    assert runner.known(CASE) is None


def test_a_kept_row_of_another_version_is_measured_again(tmp_path: Path) -> None:
    runner = Scripted(tmp_path, {CASE.id: FAULT})
    runner.run([CASE], 1, lambda job, row: None)
    (path,) = runner.folders.outcomes.iterdir()
    kept = json.loads(path.read_text(encoding="utf-8"))
    rows: list[Any] = [None, [], {**kept["row"], "colour": "red"}, {**kept["row"], "caught": "yes"}]
    for row in rows:
        path.write_text(json.dumps({**kept, "row": row}), encoding="utf-8")
        assert runner.known(CASE) is None
    path.write_text(json.dumps(kept["row"]), encoding="utf-8")
    assert runner.known(CASE) is None


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"caught": False}, False),
        ({"caught": False, "beyond_noise": False}, True),  # within the noise
        ({"caught": False, "beyond_noise": None, "sort": "checkpoint"}, False),
        ({"named": False}, False),
        ({"sort": "event", "beyond_noise": None, "documents": False}, False),
    ],
)
def test_a_campaign_fails_where_a_pass_could_not_be_believed(change: dict[str, Any], good: bool) -> None:
    faults = [replace(FAULT, **change)]
    assert program.reached(faults, count(faults, [])) is good


def test_a_campaign_fails_on_a_false_alarm() -> None:
    assert not program.reached([], count([], [RUN]))


def test_a_run_that_never_ran_is_neither_a_miss_nor_a_clean_one(tmp_path: Path) -> None:
    (tmp_path / "campaign.log").write_text("error: the dev environment was built from another lock\n")
    with pytest.raises(InstallError, match="built from another lock"):
        _ran({"exit_code": 15, "seconds": 0.1}, tmp_path, tmp_path)


def test_no_case_by_that_name_is_said() -> None:
    with pytest.raises(UsageError, match="no case matches 'nonsense'"):
        program.chosen(program.make_parser().parse_args(["--only", "nonsense"]))


@pytest.mark.parametrize(("release", "on_npu"), [("2.9.0", 0), ("2.9.0.post2", 5)])
def test_gelu_by_tanh_is_a_fault_of_a_torch_npu_that_has_the_exact_one(release: str, on_npu: int) -> None:
    chosen = program.chosen(program.make_parser().parse_args(["--only", "GELU*tanh*", "--torch-npu", release]))
    assert [job.on for job in chosen].count("npu") == on_npu


def test_the_shares_are_told_with_what_they_are_of() -> None:
    faults = (FAULT, replace(FAULT, id="other", caught=False), replace(FAULT, id="third", named=False))
    versions = {"torch-npu": "2.9.0.post2"}
    campaign = replace(
        parse(TEXT), faults=faults, clean=(RUN,), summary=count(faults, [RUN]), chip="910B4", versions=versions
    )
    assert str(program.shares(campaign)) == (
        "910B4, torch-npu 2.9.0.post2: 66.7% caught (98% asked for), 50.0% of layers named (95%), "
        "1 false alarms in 1 runs (none)"
    )


def test_help_needs_no_torch() -> None:
    program = "import sys, runpy; sys.argv[1:] = ['--help']\n"
    program += "try: runpy.run_module('verify.faults', run_name='__main__')\n"
    program += "except SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """`nox -s faults -- --quick` in the environment of the tests."""
    folder = tmp_path_factory.mktemp("faults")
    command = [sys.executable, "-m", "verify.faults", "--quick", "--results", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False), folder


@pytest.mark.slow
@needs_emulator
def test_every_fault_of_the_quick_part_is_caught_and_named(
    quick: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = quick
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    campaign = parse((folder / "faults.json").read_text(encoding="utf-8"))
    assert campaign.summary.cases >= 15
    assert [fault.id for fault in campaign.faults if not fault.caught] == []
    assert [fault.id for fault in campaign.faults if fault.named is False] == []
    assert [fault.id for fault in campaign.faults if fault.sort == "event" and not fault.ended] == []
    assert [run.reason for run in campaign.clean if run.alarms] == []
    assert campaign.summary.clean_runs == 3


@pytest.mark.slow
@needs_emulator
def test_a_campaign_that_is_known_is_shown_at_once_and_whole(
    quick: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = quick
    before = json.loads((folder / "faults.json").read_text(encoding="utf-8"))
    again = subprocess.run(
        [sys.executable, "-m", "verify.faults", "--quick", "--results", str(folder)], cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    after = json.loads((folder / "faults.json").read_text(encoding="utf-8"))
    assert again.returncode == done.returncode
    assert after["faults"] == before["faults"]
    assert again.stdout.splitlines()[-2] == done.stdout.splitlines()[-2]


def server_processes() -> set[str]:
    """The processes of warm servers and of what they forked."""
    running = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if b"verify.faults.server" in (path / "cmdline").read_bytes():
                running.add(path.name)
    return running


@pytest.mark.slow
@needs_emulator
def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "verify.faults",
        "--jobs",
        "1",
        "--only",
        "truncated*",
        "--results",
        str(tmp_path),
    ]
    before = server_processes()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("caught  truncated weights")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert len(list((tmp_path / "outcomes").iterdir())) >= 1
    assert server_processes() <= before
