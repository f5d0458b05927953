"""inference.py and eval.py as a user meets them: options, tables, JSON, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import eval as evaluation
import inference
from env.errors import CheckpointError, DeviceError, StorageError, UsageError, VerificationFailedError
from env.stack import ROOT
from model import components
from verify.checks import benchmark

PROGRAMS = [inference, evaluation]


def test_inference_has_the_options_and_defaults_of_the_public_recipe() -> None:
    recipe = {"model_dir": "granite-speech-4.1-2b", "device": "npu:0", "benchmark": 10}
    ours = {"dtype": "auto", "seq_len": 32, "batch_size": 1, "seed": 42, "json": None}
    found = vars(inference.parse([]))
    assert {name: found[name] for name in recipe | ours} == recipe | ours
    assert (found["warmup"], inference.WARMUP) == (None, 2)  # of recordings there is none unless it is asked for


def test_eval_has_the_defaults_of_the_public_recipe() -> None:
    found = vars(evaluation.parse([]))
    assert {name: found[name] for name in ("model_dir", "device", "runs", "seed")} == {
        "model_dir": "granite-speech-4.1-2b",
        "device": "npu:0",
        "runs": 3,
        "seed": 42,
    }


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--seq-len", "0"], "argument --seq-len: '0' is not a whole number of at least 1"),
        (["--batch-size", "-1"], "argument --batch-size: '-1' is not a whole number of at least 1"),
        (["--seed", "x"], "argument --seed: 'x' is not a whole number of at least 0"),
        (["--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["--device", "tpu"], "argument --device: no device 'tpu': npu:N, cuda:N, cpu or auto"),
        (["--models", "x"], "unrecognized arguments: --models x"),
    ],
)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda module: str(module.__name__))
def test_an_option_that_makes_no_sense_exits_with_two(
    program: ModuleType, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        program.parse(words)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--device", "npu:63"], DeviceError, "npu:63"),
        (["--device", "cpu", "--model-dir", "/nowhere"], CheckpointError, "the folder does not exist"),
        (["--device", "cpu", "--model-dir", "synthetic:huge"], UsageError, "no stand-in named"),
    ],
)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda module: str(module.__name__))
def test_what_cannot_run_says_so(program: ModuleType, words: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        program.main(words)


def run(program: ModuleType, folder: Path, json_file: Path | None, *words: str) -> dict[str, Any]:
    base = ["--device", "cpu", "--model-dir", str(folder)]
    assert program.main([*base, *(["--json", str(json_file)] if json_file else []), *words]) == 0
    found: dict[str, Any] = json.loads(json_file.read_text(encoding="utf-8")) if json_file else {}
    return found


@pytest.mark.slow
def test_inference_prints_and_writes_shapes_tokens_and_times(
    synthetic_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "FLOOR_SECONDS", 0.05)
    words = ("--warmup", "1", "--benchmark", "3", "--seq-len", "40", "--batch-size", "2")
    found = run(inference, synthetic_tiny, tmp_path / "out.json", *words)
    out, err = capsys.readouterr()
    assert err == ""
    assert "synthetic:tiny (stand-in: synthetic weights), 3,884,256 parameters" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["encoder", "[2,", "40,", "128]", "[2,", "40,", "128]", "yes"] in rows
    assert any(row[:1] == ["decode"] and row[2] == "tokens/s;" for row in rows)
    assert found["program"] == "inference.py"
    assert (found["signature"]["batch"], found["signature"]["seq_len"], found["signature"]["n"]) == (2, 40, 3)
    assert found["results"]["generate"]["data"]["token_ids"] == [
        int(t) for row in rows if row[:2] == ["token", "ids"] for t in row[2:]
    ]
    assert len(found["benchmark"]["components"]["encoder"]["samples_ms"]) == 3
    assert found["benchmark"]["floors"]["read_gb_s"] > 0


def test_inference_without_rounds_measures_nothing(
    synthetic_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(inference, synthetic_tiny, tmp_path / "out.json", "--benchmark", "0", "--dtype", "float32")
    assert found["benchmark"] is None
    assert found["signature"]["dtype"] == "float32"
    assert "tokens/s" not in capsys.readouterr().out


@pytest.mark.slow
def test_eval_prints_and_writes_every_comparison(
    synthetic_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(evaluation, synthetic_tiny, tmp_path / "out.json", "--runs", "2")
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count(" PASS") == 6 + 5  # components, checks
    assert "against the same weights and inputs in float32 on cpu" in out
    assert set(found["results"]) == {"shapes", "splice", "generate", "determinism", "parity"}
    assert found["results"]["determinism"]["data"]["runs"] == 2
    assert {entry["passed"] for entry in found["results"]["parity"]["data"]["components"].values()} == {True}


def broken(model: Any) -> None:
    model.get_parameter("projector.linear.weight").data *= 1.5


def test_a_wrong_model_ends_in_an_error_with_the_json_written(
    synthetic_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = components.load

    def damaged(*arguments: Any) -> components.Loaded:
        loaded = original(*arguments)
        broken(loaded.model)
        return loaded

    monkeypatch.setattr(components, "load", damaged)
    with pytest.raises(VerificationFailedError) as caught:
        run(evaluation, synthetic_tiny, tmp_path / "out.json")
    assert caught.value.what == "failed: parity"
    assert "parity       FAIL  projector: rel_l2 0." in capsys.readouterr().out
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert found["results"]["parity"]["status"] == "fail"


def test_a_json_file_that_cannot_be_written_is_a_storage_error(
    synthetic_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError):
        run(inference, synthetic_tiny, tmp_path / "file" / "out.json", "--benchmark", "0")
    assert "shapes" in capsys.readouterr().out  # the figures were shown before


@pytest.mark.slow
def test_ctrl_c_ends_with_a_word_and_no_traceback(synthetic_tiny: Path) -> None:
    command = [sys.executable, "inference.py", "--device", "cpu", "--model-dir", str(synthetic_tiny)]
    process = subprocess.Popen(
        [*command, "--benchmark", "100000"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("token ids"):
            break
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert time.monotonic() - started < 30
