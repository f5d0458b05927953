"""Checks of full-size weights get the time those take, at whatever level; a hang on small ones is ended soon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from env.errors import UsageError
from env.language import Message
from env.options import OPT_IN
from verify.__main__ import main, make_parser, rerun_command, selected
from verify.run import engine, plan
from verify.run.child import Child
from verify.run.context import Context
from verify.run.plan import CHECKS, FULL_BYTES, Check, full_size, planned
from verify.run.records import Answer, Status


@pytest.mark.parametrize(
    ("sizes", "level", "full"),
    [
        pytest.param((FULL_BYTES,), 2, True, id="one file"),
        pytest.param((FULL_BYTES // 2,) * 2, 2, True, id="shards"),
        pytest.param((FULL_BYTES - 1,), 2, False, id="small"),
        pytest.param((), 2, False, id="no weights"),
        pytest.param((1,), 3, True, id="level 3"),
    ],
)
def test_a_checkpoint_is_full_size_by_its_bytes(tmp_path: Path, sizes: tuple[int, ...], level: int, full: bool) -> None:
    for number, size in enumerate(sizes):
        with (tmp_path / f"model-{number}.safetensors").open("wb") as file:
            os.truncate(file.fileno(), size)  # sparse: it takes no space
    (tmp_path / "training.bin").write_bytes(b"not weights")
    assert full_size(str(tmp_path), level) is full


@pytest.mark.parametrize(
    ("model_dir", "full"), [("synthetic:full", True), ("synthetic:tiny", False), ("/nowhere/at-all", False)]
)
def test_a_stand_in_is_full_size_by_its_name(model_dir: str, full: bool) -> None:
    assert full_size(model_dir, level=2) is full


@pytest.mark.parametrize("check", [check for check in CHECKS if check.option], ids=lambda check: check.name)
def test_no_level_runs_what_only_an_option_asks_for(check: Check) -> None:
    assert check not in planned(4)
    assert check in planned(check.level, [check.option])
    assert check not in planned(check.level - 1, [check.option])
    assert not check.essential
    assert check.option in {option.name for option in OPT_IN}


def test_an_option_of_a_higher_level_is_refused_and_a_rerun_names_it() -> None:
    parse = make_parser().parse_args
    with pytest.raises(UsageError, match="--stress-detect is of level 4"):
        selected(parse(["--stress-detect", "--level", "3"]))
    options = parse(["--stress-detect", "--level", "4", "--model-dir", "synthetic:tiny"])
    assert [check.name for check in selected(options)][-1] == "stress"
    command = rerun_command(options)("stress").split()
    assert "--stress-detect" in command
    assert "True" not in command


def test_the_test_for_silent_errors_takes_one_card_at_a_time() -> None:
    words = ["--stress-detect", "--level", "4", "--device", "npu:all"]
    with pytest.raises(UsageError, match="runs on one card at a time"):
        main(words)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_full_size_weights_never_get_less_time(check: Check) -> None:
    assert check.limit_for(full=True) >= check.limit_for(full=False)


def test_the_engine_waits_as_long_as_the_weights_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def run(self: Child, check: Check, limit: float) -> Answer:
        limits.append(limit)
        return Answer(status=Status.PASS, reason=Message(""), seconds=0.0)

    monkeypatch.setattr(Child, "run", run)
    (parity,) = (check for check in plan.CHECKS if check.name == "parity")
    for model_dir in ("synthetic:tiny", "synthetic:full"):
        context = Context("cpu", model_dir, "auto", 42, 2, tmp_path)
        engine.run_checks([parity], context, Path(sys.executable), lambda check: check)
    full = parity.limit_for(full=True, parameters=plan.PUBLISHED, positions=32)
    assert limits == [parity.limit, full]
    assert full > (parity.limit_full or 0)
