"""What everything stands on: errors that become messages, commands that never raise, files that are whole."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from env.atomic import replacing, write_json, write_text
from env.errors import BundleError, DeviceError, StorageError, run_main
from env.lock import constraints, overrides, pins
from env.runner import NOT_FOUND, NOT_RUNNABLE, TIMED_OUT, run
from env.stack import ROOT, load_stack


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BundleError("it broke"), "it broke"),
        (BundleError("it broke", next="mend it"), "it broke\n  next: mend it"),
        (
            DeviceError("no npu:0", why="no driver", next="npu-smi info"),
            "no npu:0\n  why:  no driver\n  next: npu-smi info",
        ),
    ],
)
def test_a_message_says_what_why_and_what_to_type(error: BundleError, text: str) -> None:
    assert str(error) == text


def fails() -> int:
    raise DeviceError("no npu:0", next="npu-smi info")


def interrupted() -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [(fails, 21, "error: no npu:0\n  next: npu-smi info\n"), (interrupted, 130, "interrupted\n"), (lambda: 4, 4, "")],
)
def test_a_program_ends_with_one_message_and_its_code(
    main: object, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_main(main)  # type: ignore[arg-type]
    assert (end.value.code, capsys.readouterr().err) == (code, said)


def test_a_python_without_the_packages_is_named_with_the_one_that_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    with pytest.raises(SystemExit) as end:
        run_main(main)
    said = capsys.readouterr().err
    assert (end.value.code, said.splitlines()[0]) == (15, f"error: {sys.executable} has no torch")
    assert "next: nox -s setup, then .venvs/host/bin/python " in said


def test_a_missing_module_of_ours_stays_a_bug() -> None:
    def main() -> int:
        raise ModuleNotFoundError("No module named 'verify.nothing'", name="verify.nothing")

    with pytest.raises(ModuleNotFoundError):
        run_main(main)


def test_a_reader_that_leaves_is_no_failure_of_ours() -> None:
    program = "from env.errors import run_main\nrun_main(lambda: [print('x' * 1000) for _ in range(1000)] and 0)"
    line = f'{sys.executable} -c "{program}" | head -c 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("x", "", 141)


def test_a_command_that_is_not_there_or_does_not_end_is_a_result() -> None:
    assert run(["no-such-command-at-all"]).returncode == NOT_FOUND
    assert run(["/etc/hostname"]).returncode == NOT_RUNNABLE
    hanging = run(
        [sys.executable, "-c", "print('so far', flush=True); input = __import__('threading').Event().wait()"], timeout=1
    )
    assert (hanging.returncode, hanging.stdout) == (TIMED_OUT, "so far\n")


def test_what_a_command_started_is_killed_with_it() -> None:
    done = run(["sh", "-c", "sleep 600 & echo $!; wait"], timeout=1)
    assert done.returncode == TIMED_OUT
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(int(done.stdout))) as left:
        assert select.select([left], [], [], 10.0)[0]  # readable once it has ended: a kill takes a moment to arrive


def test_output_that_is_no_text_is_read_all_the_same() -> None:
    done = run([sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes([255, 65]))"])
    assert done.stdout == "\ufffdA"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device(.|\n)*free some space"):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_no_reader_would_take_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "record.json", {"rel_l2": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_constraints_are_the_declared_versions() -> None:
    declared = load_stack().packages
    lines = constraints(load_stack()).splitlines()
    assert f"torch=={declared['torch']}" in lines
    assert f"numpy{declared['numpy']}" in lines


@pytest.mark.parametrize(
    ("profile", "machine", "names"),
    [
        ("npu", "x86_64", ["torch-npu", "torch", "torchaudio"]),
        ("npu", "aarch64", ["torch-npu"]),
        ("host", "x86_64", []),
        ("dev", "x86_64", []),
    ],
)
def test_what_stands_apart_is_kept_out_of_the_lock(profile: str, machine: str, names: list[str]) -> None:
    assert [line.partition(";")[0] for line in overrides(load_stack(), profile, machine).splitlines()] == names


def test_pins_are_those_of_the_running_interpreter(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made by\nhere==1.0 \\\n    --hash=sha256:00\nelsewhere==2 ; sys_platform == 'no' \\\n    --hash=sha256:1\n",
        encoding="utf-8",
    )
    assert [str(pin) for pin in pins(lock)] == ["here==1.0"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("whole", encoding="utf-8")
        assert not folder.exists()
    assert (folder / "a").read_text(encoding="utf-8") == "whole"

    def interrupted() -> None:
        with replacing(tmp_path / "other") as temporary:
            temporary.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
