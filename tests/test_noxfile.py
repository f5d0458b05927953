"""The front door, by running nox itself on this project's noxfile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from env.stack import ROOT


def nox(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *words]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("NOX", "NPU_EMU"))}
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def test_the_main_job_is_what_runs_by_default() -> None:
    assert [one["session"] for one in json.loads(nox("--list", "--json").stdout)] == ["setup", "verify", "report"]


def test_an_unknown_option_fails_each_session_with_its_name_and_runs_nothing(tmp_path: Path) -> None:
    done = nox("-s", "setup", "verify", "report", "--", "--levle", "2", "--results", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("unrecognized arguments: --levle") == 3
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_options_of_all_three() -> None:
    done = nox("-s", "setup", "--", "--help")
    for option in ("--device", "--find-links", "--level", "--batch-size", "--strict", "--lang"):
        assert option in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_fault_campaign_is_an_option_of_the_report_and_planted_faults_one_of_the_emulated_device() -> None:
    assert "--faults FILE" in nox("-s", "report", "--", "--help").stdout
    emulated = nox("-s", "emulated", "--", "--help").stdout
    assert "--faults JSON" in emulated
    assert "--faults FILE" not in emulated


def test_a_fault_campaign_is_found_from_where_nox_was_called(tmp_path: Path) -> None:
    example = ROOT / "tests" / "data" / "report" / "emulated-faults"
    shutil.copytree(example, tmp_path / "run", ignore=shutil.ignore_patterns("*.md", "faults.json"))
    shutil.copy(example / "faults.json", tmp_path / "given.json")
    done = nox("-s", "report", "--", "--run", "run", "--faults", "given.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("faults.json", "report.zh.md", "report.en.md", "evidence.zh.md", "evidence.en.md"):
        assert (tmp_path / "run" / name).read_bytes() == (example / name).read_bytes()


def test_install_only_is_never_green() -> None:
    done = nox("-s", "setup", "--install-only", "--", "--profile", "tools")
    assert done.returncode == 1
    assert "nothing ran" in done.stderr


@pytest.mark.slow
def test_a_missing_npu_stops_setup_before_any_download_and_is_still_documented(tmp_path: Path) -> None:
    if Path("/dev/davinci_manager").exists():
        pytest.skip("this machine has an NPU")
    done = nox("-s", "setup", "verify", "report", "--", "--device", "npu:0", "--results", str(tmp_path))
    assert done.returncode == 1
    assert "driver" in done.stderr + done.stdout
    assert "Downloading" not in done.stderr + done.stdout
    (run,) = tmp_path.iterdir()
    assert json.loads((run / "setup.json").read_text(encoding="utf-8"))["status"] == "fail"
    for name in ("report.zh.md", "report.en.md"):
        assert "npu:0" in (run / name).read_text(encoding="utf-8")
