"""`python -m verify` as a user meets it: exit codes, and what is left behind when it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from env import builder
from env.atomic import write_json
from env.errors import EnvironmentMissingError
from env.stack import ROOT
from verify.__main__ import context_of, environment, make_parser, rerun_command
from verify.run.provenance import shown_model_dir
from verify.run.records import Status, read_evidence
from verify.run.verdict import judge


def start(tmp_path: Path, checks: str, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.verify.small_run",
        checks,
        "--results",
        str(tmp_path),
        "--run",
        "r1",
        *words,
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def report(tmp_path: Path) -> str:
    command = [sys.executable, "-m", "verify.report", "--run", str(tmp_path / "r1")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return (tmp_path / "r1" / "evidence.en.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("checks", "words", "code"),
    [
        ("fails,passes", [], 30),
        ("raises,passes", [], 31),
        ("fails,raises", [], 30),
        ("passes,fails", ["--check", "passes"], 0),
        ("passes,fails", ["--check", "fails"], 30),
        ("passes,skips", ["--check", "skips"], 31),
        ("passes", ["--check", "nothing"], 2),
    ],
)
def test_the_exit_code_says_what_happened(tmp_path: Path, checks: str, words: list[str], code: int) -> None:
    returncode, out, err = finish(start(tmp_path, checks, *words))
    assert returncode == code, err
    assert "Traceback" not in err
    assert ("verdict: " in out) == (code != 2)


def test_a_failure_prints_its_reason_its_last_lines_and_its_rerun_command(tmp_path: Path) -> None:
    _, out, _ = finish(start(tmp_path, "fails", "--seed", "7"))
    assert "fails: fail: encoder: relative L2 0.5, expected below 0.01" in out
    assert "    | the encoder is wrong" in out
    assert "again: nox -s verify -- --check fails --device cpu --seed 7 --model-dir synthetic:tiny" in out


def test_passing_checks_alone_verify_nothing(tmp_path: Path) -> None:
    _, out, _ = finish(start(tmp_path, "passes,passes"))
    assert "verdict: verified" not in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_run_that_is_stopped_keeps_its_records_and_a_document_says_so(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start(tmp_path, "passes,hangs,skips")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("passes")
    process.send_signal(number)
    returncode, _, err = finish(process)
    assert returncode == code
    assert "Traceback" not in err
    evidence = read_evidence(tmp_path / "r1")
    assert evidence.status("passes") is Status.PASS
    assert evidence.status("hangs") in (Status.ERROR, Status.NOT_RUN)  # the signal may come before the check begins
    assert evidence.status("skips") is Status.NOT_RUN
    assert judge(evidence).exit_code == 31
    assert "not-run" in report(tmp_path)
    worker = evidence.records["passes"].data["pid"]
    assert not Path(f"/proc/{worker}/exe").exists()


def test_a_run_that_is_repeated_in_its_folder_never_passes_by_old_records(tmp_path: Path) -> None:
    finish(start(tmp_path, "passes,skips"))
    assert finish(start(tmp_path, "asks_for_ctrl_c,passes,skips"))[0] == 130
    evidence = read_evidence(tmp_path / "r1")
    assert [evidence.status(name) for name in ("passes", "skips")] == [Status.NOT_RUN, Status.NOT_RUN]


def test_the_environment_s_own_setup_is_recorded_where_this_run_had_none(tmp_path: Path) -> None:
    finish(start(tmp_path, "passes"))
    setup = json.loads((tmp_path / "r1" / "setup.json").read_text(encoding="utf-8"))
    assert (setup["status"], setup["reason"]) == ("pass", "built by an earlier setup")


def test_a_records_folder_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "r1").write_text("a file where the run's folder should be", encoding="utf-8")
    returncode, _, err = finish(start(tmp_path, "passes"))
    assert returncode == 14
    assert err.startswith("error: cannot write ")
    assert "Traceback" not in err


def test_a_single_check_joins_only_a_run_with_its_options(tmp_path: Path) -> None:
    finish(start(tmp_path, "passes,fails"))
    returncode, _, err = finish(start(tmp_path, "passes,fails", "--check", "passes", "--seed", "7"))
    assert returncode == 2
    assert "r1 was made with seed 42, not 7" in err
    assert finish(start(tmp_path, "passes,fails", "--check", "passes"))[0] == 0
    assert read_evidence(tmp_path / "r1").status("fails") is Status.FAIL


def test_a_setup_that_failed_is_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(profile: str) -> tuple[Path, dict[str, object]]:
        raise EnvironmentMissingError("the npu environment is not there", next="nox -s setup")

    monkeypatch.setattr(builder, "require", missing)
    with pytest.raises(EnvironmentMissingError, match="the npu environment is not there"):
        environment("npu", tmp_path)
    setup = {
        "schema": 1,
        "status": "fail",
        "reason": "no driver\n  next: probe",
        "started": "2026-08-01T10:00:00+00:00",
        "seconds": 0,
        "data": {},
    }
    write_json(tmp_path / "setup.json", setup | {"command": "nox -s setup"})
    with pytest.raises(EnvironmentMissingError, match="the setup of this run did not succeed: no driver\n"):
        environment("npu", tmp_path)


def test_the_rerun_command_names_only_what_differs_from_the_defaults() -> None:
    plain = make_parser().parse_args(["--model-dir", "synthetic:tiny"])
    assert rerun_command(plain)("parity") == "nox -s verify -- --check parity --model-dir synthetic:tiny"
    given = make_parser().parse_args(
        ["--level", "3", "--device", "npu:0", "--model-dir", "/data/granite-speech-4.1-2b"]
    )
    assert rerun_command(given)("load") == (
        "nox -s verify -- --check load --device npu:0 --level 3 --model-dir granite-speech-4.1-2b"
    )
    inputs = make_parser().parse_args(["--batch-size", "2", "--seq-len", "40", "--model-dir", "synthetic:tiny"])
    assert rerun_command(inputs)("parity") == (
        "nox -s verify -- --check parity --seq-len 40 --batch-size 2 --model-dir synthetic:tiny"
    )


def test_the_inputs_of_a_run_are_those_that_its_options_name(tmp_path: Path) -> None:
    context = context_of(make_parser().parse_args(["--batch-size", "2", "--seq-len", "40"]), tmp_path)
    assert (context.batch_size, context.seq_len) == (2, 40)
    default = context_of(make_parser().parse_args([]), tmp_path)
    assert (default.batch_size, default.seq_len) == (1, 32)


@pytest.mark.parametrize(
    ("model_dir", "shown"),
    [
        ("synthetic:tiny", "synthetic:tiny"),
        (str(ROOT / "model" / "data" / "stand-in"), "model/data/stand-in"),
        (str(ROOT / "granite-speech-4.1-2b"), "granite-speech-4.1-2b"),
        ("/data/granite-speech-4.1-2b", "granite-speech-4.1-2b"),
    ],
)
def test_a_record_names_no_folder_of_the_machine(model_dir: str, shown: str) -> None:
    assert shown_model_dir(model_dir) == shown
