"""`nox -s emulated`: the main job and both programs, unmodified, on npu:0; marked as emulated wherever it is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from env.stack import ROOT
from tests.env.npu_emulator.needed import needs_emulator

pytestmark = [pytest.mark.slow, needs_emulator]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of one emulated run, and what the session printed."""
    results = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "nox", "-s", "emulated", "--", "--results", str(results)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("NOX", "NPU_EMU"))}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (folder,) = results.iterdir()
    return folder, done.stdout + done.stderr


def test_every_check_passes_on_npu_0_and_every_record_says_emulated(run: tuple[Path, str]) -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (run[0] / "records").glob("*.json")]
    assert len(records) >= 11
    assert {record["status"] for record in records} == {"pass"}
    assert {record["emulated"] for record in records} == {True}
    signatures = [record["signature"] for record in records if record["signature"]]
    taken = [signature for signature in signatures if "device" in signature]  # the processor's features need none
    assert {(signature["device"], signature["emulated"]) for signature in taken} == {("npu:0", True)}
    assert {signature["deterministic"] for signature in taken if "threads" in signature} == {True}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_verdict_and_both_documents_say_emulated(run: tuple[Path, str], language: str) -> None:
    folder, said = run
    assert "verified (EMULATED" in said
    assert "GELU by tanh: up to 4.7e-04" in said  # torch-npu 2.9.0 has no other, and is not called failed for it
    assert "EMULATED" in (folder / f"report.{language}.md").read_text(encoding="utf-8").split("## ")[0]


def test_both_programs_run_on_it_and_say_so(run: tuple[Path, str]) -> None:
    assert run[1].count("device    npu:0, Ascend910B4  EMULATED") == 2
    assert "parity       PASS" in run[1]
