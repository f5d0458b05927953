"""The engine keeps its promises whatever a check does: a record each, the rest done, nothing left running."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from env import atomic, npu_emulator
from env.errors import StorageError
from env.language import Message
from env.runner import Completed
from verify.run import child, engine, provenance, records
from verify.run.context import Context
from verify.run.plan import Check
from verify.run.records import Record, Status, read_evidence
from verify.run.screen import Board, failures, screen


def check(name: str, limit: float = 20.0) -> Check:
    return Check(name, 1, limit, function=f"tests.verify.bad_checks:{name}")


@pytest.fixture(autouse=True)
def no_variables_of_cann(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASCEND_PROCESS_LOG_PATH", "ASCEND_WORK_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("cpu", "synthetic:tiny", "auto", 42, 1, tmp_path)


def run(context: Context, *checks: Check) -> list[Record]:
    return engine.run_checks(checks, context, Path(sys.executable), lambda name: f"again {name}")


@pytest.mark.parametrize(
    ("name", "status", "reason", "logged"),
    [
        ("passes", Status.PASS, "", ""),
        ("fails", Status.FAIL, "encoder: relative L2 0.5, expected below 0.01", "the encoder is wrong"),
        ("skips", Status.SKIP, "needs two devices", ""),
        ("raises", Status.ERROR, "ZeroDivisionError: by a check", "Traceback (most recent call last)"),
        (
            "raises_for_the_user",
            Status.ERROR,
            "no npu:0\n  why:  the driver is not loaded\n  next: npu-smi info",
            "no npu:0",
        ),
        ("has_no_json", Status.ERROR, "the check's figures are no JSON: ", ""),
        ("has_figures_that_are_no_json", Status.ERROR, "the check's figures are no JSON: ", ""),
        (
            "has_figures_of_another_type",
            Status.ERROR,
            'the check\'s figures are no JSON: data.runs is "two": Expected `int`, got `str`',
            "",
        ),
        ("is_killed", Status.ERROR, "the worker was ended by SIGKILL, mostly for want of memory: ", ""),
        ("segfaults", Status.ERROR, "the worker was ended by SIGSEGV", "about to read address 0"),
        ("leaves", Status.ERROR, "the worker ended with exit code 3", "the vendor runtime calls exit"),
        ("leaves_a_child_behind", Status.ERROR, "the worker ended with exit code 3", ""),
        ("asks_for_nothing_there", Status.ERROR, "AttributeError: ", "Traceback (most recent call last)"),
    ],
)
def test_every_end_is_a_record_and_the_next_check_runs(
    context: Context, name: str, status: Status, reason: str, logged: str
) -> None:
    first, second = run(context, check(name), check("passes"))
    assert (first.check, first.status) == (name, status)
    assert first.reason.startswith(reason.rstrip()) if reason.endswith(" ") else first.reason == reason
    assert logged in "\n".join(first.log)
    assert first.rerun == f"again {name}"
    assert second.status is Status.PASS


def test_a_check_that_takes_long_tells_who_waits_what_it_does(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    with screen([check("tells")]) as progress:
        (record,) = engine.run_checks([check("tells")], context, Path(sys.executable), str, progress)
    assert record.status is Status.PASS
    assert capsys.readouterr().out.splitlines()[0] == "tells        running: half of it"
    board = Board([check("tells")])
    board.take(engine.Progress("tells"))
    board.take(engine.Progress("tells", doing=Message("half of it")))
    assert list(board.__rich__().columns[-1].cells) == ["half of it"]


def test_a_known_failure_is_named_with_its_cause_and_its_fix(context: Context) -> None:
    (record,) = run(context, check("lacks_cann"))
    assert [known["id"] for known in record.data["doctor"]] == ["LIB_HCCL"]
    shown = "\n".join(failures([record]))
    assert "known: LIB_HCCL: " in shown
    assert "set_env.sh" in shown


def test_a_hang_is_ended_and_the_log_says_where_it_stood(context: Context) -> None:
    hung, after = run(context, check("hangs", limit=1.5), check("passes"))
    assert hung.status is Status.ERROR
    assert hung.reason.startswith("no answer in 1.5 s")
    log = "\n".join(hung.log)
    assert "waiting for a device that never answers" in log
    assert "in hangs" in log  # faulthandler's stack of the worker
    assert after.status is Status.PASS


def test_a_worker_that_falls_silent_and_never_ends_is_ended(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LAST_WORDS_S", 0.5)
    silent, after = run(context, check("says_no_more"), check("passes"))
    assert silent.reason == "the worker stopped answering and did not end in 0.5 s: it was ended"
    assert after.status is Status.PASS


def test_what_a_dead_worker_started_is_gone_before_the_next_begins(context: Context) -> None:
    left, after = run(context, check("leaves_a_daemon_behind"), check("passes"))
    pid = int(left.log[-1].removeprefix("daemon "))
    assert after.status is Status.PASS
    assert not Path(f"/proc/{pid}/exe").exists()


def test_a_worker_that_a_driver_holds_is_left_behind(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LAST_WORDS_S", 0.1)
    kept = child.Child(Path(sys.executable), context, 1)
    signals: list[int] = []
    monkeypatch.setattr(kept, "_signal", lambda number, *, group=False: signals.append(number))  # as if it did nothing
    kept.close()
    assert not kept.alive
    monkeypatch.undo()
    assert signals == [signal.SIGKILL]
    kept.alive = True
    kept.close()
    assert kept._process.returncode == -signal.SIGKILL


def test_a_log_that_cannot_be_written_is_a_full_disk_or_a_folder_not_a_traceback(context: Context) -> None:
    (context.run_folder / "logs").write_text("a file where the logs should be", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        run(context, check("passes"))


def test_the_commit_is_this_projects_own_and_no_surrounding_repositorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    monkeypatch.setattr(provenance, "ROOT", unpacked)
    monkeypatch.setattr(provenance, "run", lambda command: Completed(tuple(command), 0, "0123456789ab\n"))
    assert provenance.project()["commit"] is None
    (unpacked / ".git").mkdir()
    assert provenance.project()["commit"] == "0123456789ab"


@pytest.mark.parametrize(
    ("home", "shown"),
    [("/home/me", "~/log in /opt/x"), ("/home/me/", "~/log in /opt/x"), ("/", None), ("", None), (None, None)],
)
def test_a_log_names_no_home_whatever_a_container_calls_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None, shown: str | None
) -> None:
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    log = tmp_path / "worker.log"
    log.write_text("/home/me/log in /opt/x\n", encoding="utf-8")
    assert child.tail(log) == [shown or "/home/me/log in /opt/x"]


def test_checks_share_one_warm_worker_until_it_dies(context: Context) -> None:
    one, two, _, fresh = run(context, check("passes"), check("passes"), check("leaves"), check("passes"))
    assert one.data["pid"] == two.data["pid"]
    assert two.data["runs"] == 2
    assert fresh.data["pid"] != one.data["pid"]
    assert fresh.data["runs"] == 1


@pytest.mark.parametrize("name", ["fails_late", "fails_in_the_runtime"])
def test_after_an_error_of_an_npu_s_runtime_its_process_checks_nothing_more(context: Context, name: str) -> None:
    """torch-npu drops every later operator of that process without a word (v7.3.1, NPUQueue.cpp, Enqueue)."""
    before, broken, after = run(context, check("passes"), check(name), check("passes"))
    assert [record.worker for record in (before, broken, after)] == [1, 1, 2]
    assert after.data["pid"] != before.data["pid"]
    assert after.data["runs"] == 1


@pytest.mark.parametrize("name", ["refuses_an_option", "raises_for_the_user", "raises"])
def test_what_no_npu_has_failed_in_costs_no_new_worker(context: Context, name: str) -> None:
    broken, after = run(context, check(name), check("passes"))
    assert (broken.status, broken.worker, after.worker) == (Status.ERROR, 1, 1)


def test_cann_s_own_errors_are_in_the_record_and_the_doctor_reads_them(context: Context) -> None:
    (record,) = run(context, check("fails_late"))
    assert [line.partition("python):")[2] for line in record.plog] == ["[a.cpp:1]7 No module named 'decorator'"]
    assert "TBE_DEPS" in [known["id"] for known in record.data["doctor"]]
    assert record.rerun == "ASCEND_LAUNCH_BLOCKING=1 again fails_late"
    assert "No module named 'decorator'" in "\n".join(failures([record]))


def test_a_pass_with_an_operator_on_the_host_is_no_pass_of_the_device(context: Context) -> None:
    """The text comes once a process, so every later check of that worker may have run there too."""
    first, other, later = run(context, check("falls_back"), check("passes"), check("on_the_device"))
    assert (first.status, first.reason) == (Status.FAIL, "ran on the CPU: aten::lgamma")
    assert (other.status, other.cpu_fallback) == (Status.PASS, ("aten::lgamma",))  # it names no device
    assert (later.status, later.cpu_fallback) == (Status.FAIL, ("aten::lgamma",))


def test_cann_writes_into_the_run_s_folder_and_nothing_hides_its_warnings(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCH_NPU_DISABLED_WARNING", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(name, "1")
    (record,) = run(context, check("shows_its_environment"))
    folder = context.run_folder
    assert record.reason == f"{folder}/logs/ascend-1 {folder}/ascend-1 None None"
    monkeypatch.setenv("ASCEND_PROCESS_LOG_PATH", "/elsewhere")
    (record,) = run(context, check("shows_its_environment"))
    assert record.reason.startswith("/elsewhere ")


def test_each_record_is_on_disk_before_the_next_check_begins(context: Context) -> None:
    seen: list[tuple[str, list[str]]] = []

    def watch(step: engine.Progress) -> None:
        if step.record is None:
            seen.append((step.check, sorted(path.stem for path in (context.run_folder / "records").glob("*.json"))))

    checks = [check("passes"), check("fails"), check("skips")]
    engine.run_checks(checks, context, Path(sys.executable), str, watch)
    assert seen == [("passes", []), ("fails", ["passes"]), ("skips", ["fails", "passes"])]


def test_ctrl_c_records_the_check_it_stopped_and_ends_the_worker(context: Context) -> None:
    records.write_record(context.run_folder, run(context, check("passes"))[0])
    pid = read_record(context, "passes").data["pid"]
    with pytest.raises(KeyboardInterrupt):
        run(context, check("asks_for_ctrl_c"), check("skips"))
    assert read_record(context, "asks_for_ctrl_c").reason == "interrupted"
    assert not (context.run_folder / "records" / "skips.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_full_disk_loses_no_finished_record(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = atomic.write_json

    def full(path: Path, value: object) -> None:
        if path.stem == "fails":
            raise StorageError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
        whole(path, value)

    monkeypatch.setattr(records, "write_json", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run(context, check("passes"), check("fails"), check("skips"))
    assert read_record(context, "passes").status is Status.PASS
    assert sorted(path.name for path in (context.run_folder / "records").iterdir()) == ["passes.json"]


def test_a_run_that_is_removed_meanwhile_ends_and_leaves_no_half(context: Context) -> None:
    run_folder = context.run_folder / "run"
    context = replace(context, run_folder=run_folder)
    records.write_run(run_folder, engine.new_run("run", context, [check("removes_the_run")], "cpu", "nox -s verify"))
    with pytest.raises(StorageError, match="run was removed while the run was writing to it"):
        run(context, check("removes_the_run"), check("passes"))
    assert not run_folder.exists()


def test_records_of_an_emulated_run_say_so_even_when_the_worker_died(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(npu_emulator.VARIABLE, "1")
    assert [record.emulated for record in run(context, check("passes"), check("leaves"))] == [True, True]


def read_record(context: Context, name: str) -> Record:
    if not (context.run_folder / records.RUN_FILE).exists():
        records.write_run(context.run_folder, engine.new_run("run", context, [check(name)], "cpu", "nox -s verify"))
    return read_evidence(context.run_folder).records[name]
