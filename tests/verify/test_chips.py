"""Reference times of chips: bounds at their edges, rows as data, and what a run beyond them comes to."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from env.errors import BundleError, VerificationIncompleteError
from env.toml import loads
from model.components import Loaded
from tests.verify.report_runs import DATA, data_of, with_record
from tests.verify.test_checks import session_of
from verify.checks import benchmark
from verify.reference import chips
from verify.reference.chips import Chip, ReferenceTime, Row, held
from verify.report.references import main
from verify.report.render import render
from verify.run.records import Status
from verify.run.verdict import Caveat, Word, judge


def row(**changes: Any) -> Row:
    fields = {"component": "encoder", "dtype": "bfloat16", "batch": 1, "seq_len": 32, "value": 100.0}
    fields |= {"lower": -0.2, "upper": 0.1, "source": "a table", "reported": True}
    return msgspec.convert({**fields, **changes}, Row)


@pytest.mark.parametrize(
    ("value", "beyond"),
    [
        (100.0, False),
        (80.0, False),
        (79.99, True),
        (110.00000000000001, False),
        (110.1, True),
        (0.0, True),
        (-1.0, True),
        (math.inf, True),
        (math.nan, True),
    ],
)
def test_a_time_is_beyond_its_bounds_on_either_side(value: float, beyond: bool) -> None:
    assert row().beyond(value) is beyond


def test_bounds_of_nothing_hold_the_value_alone() -> None:
    assert not row(lower=0.0, upper=0.0).beyond(100.0)
    assert row(lower=0.0, upper=0.0).beyond(100.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.0},
        {"lower": 0.1},
        {"lower": -1.5},
        {"upper": -0.1},
        {"source": ""},
        {"reported": False},
        {"more": 1},
    ],
)
def test_a_row_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        row(**changes)


def test_the_shipped_rows_are_the_published_ones() -> None:
    """The public recipe: encoder ~45 ms, projector ~12, language model ~38, and ~12 steps/s of the first and last."""
    chip = chips.of("Ascend910B4")
    assert chip is not None
    values = {row.component: row.value for row in chip.rows if row.seq_len == 32}
    assert values == {"encoder": 45.0, "projector": 12.0, "language_model": 38.0, "text_pass": 134.0}
    assert 1000 / (values["encoder"] + values["language_model"]) == pytest.approx(12, rel=0.01)
    assert all(row.reported for row in chip.rows)


def test_a_row_holds_for_its_conditions_alone() -> None:
    chip = Chip(schema=1, chip="X", names=["X"], rows=[row(), row(seq_len=64, value=200.0)])
    conditions: dict[str, Any] = {"dtype": "bfloat16", "batch": 1, "seq_len": 32}
    (time,) = held(chip, {"encoder": 120.0, "projector": 1.0}, **conditions)
    assert (time.value_ms, time.beyond) == (100.0, True)
    assert time.sentence == "encoder 120.0 ms (100, -20% / +10%)"
    for other in ({"dtype": "float16"}, {"batch": 2}, {"seq_len": 33}):
        assert list(held(chip, {"encoder": 120.0}, **{**conditions, **other})) == []


def test_a_damaged_file_names_itself(tmp_path: Path) -> None:
    (tmp_path / "X.toml").write_text("schema = 2\n")
    with pytest.raises(BundleError, match=r"X\.toml: "):
        chips.chips(tmp_path)


def beyond(**changes: Any) -> ReferenceTime:
    (time,) = held(
        Chip(schema=1, chip="910B4", names=["X"], rows=[row()]),
        {"encoder": 120.0},
        dtype="bfloat16",
        batch=1,
        seq_len=32,
    )
    return msgspec.structs.replace(time, **changes)


@pytest.mark.parametrize(
    ("rows", "gate", "status", "reason"),
    [
        ([], True, Status.PASS, "ms a pass"),
        (
            [beyond(measured_ms=99.0, beyond=False)],
            True,
            Status.PASS,
            "as the reference of 910B4: encoder 99.0 ms (100,",
        ),
        ([beyond()], False, Status.PASS, "ms a pass"),
        ([beyond()], True, Status.FAIL, "beyond the reference of 910B4: encoder 120.0 ms (100, -20% / +10%)"),
    ],
)
def test_a_time_beyond_its_reference_fails_at_the_gate_only(
    tiny_float32: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[ReferenceTime],
    gate: bool,
    status: Status,
    reason: str,
) -> None:
    monkeypatch.setattr(benchmark, "references", lambda session, figures: rows)
    session = session_of(tiny_float32.checkpoint.folder, tiny_float32, 2)
    session.context = replace(session.context, gate=gate)
    outcome = benchmark.check(session)
    assert outcome.status is status
    assert reason in outcome.reason
    assert (outcome.data["beyond_reference"] is not None) == any(row.beyond for row in rows)


def test_small_weights_and_processors_have_no_reference(tiny_float32: Loaded) -> None:
    session = session_of(tiny_float32.checkpoint.folder, tiny_float32, 2)
    assert benchmark.references(session, cast("Any", SimpleNamespace())) == []


def test_a_time_beyond_its_reference_is_a_caveat_of_the_verdict_and_a_row_of_the_evidence() -> None:
    time = beyond()
    data = {**data_of("npu-verified", "benchmark"), "references": [time.as_json()]}
    data["beyond_reference"] = benchmark._beside([time])
    evidence = with_record("npu-verified", "benchmark", data=data)
    verdict = judge(evidence)
    assert verdict.word is Word.VERIFIED
    assert [note.caveat for note in verdict.notes] == [Caveat.BEYOND_REFERENCE]
    assert "other times than the reference: beyond the reference of 910B4: encoder 120.0 ms" in verdict.line()
    assert "| encoder | 120.00 | 100 | -20% / +10% | **beyond** | a table (reported by others) |" in render(
        evidence, "en"
    )


def test_a_run_proposes_rows_that_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run", str(DATA / "npu-verified")]) == 0
    rows = [msgspec.convert(one, Row) for one in loads(capsys.readouterr().out)["rows"]]
    assert (rows[0].component, rows[0].value) == ("encoder", 15.55)
    assert {one.dtype for one in rows} == {"bfloat16"}
    assert all(len(str(one.run_sha256)) == 64 and not one.reported for one in rows)


@pytest.mark.parametrize("run", ["cpu-stand-in", "emulated-substituted", "npu-failed", "interrupted", "setup-failed"])
def test_a_run_that_proves_nothing_of_its_chip_proposes_nothing(run: str) -> None:
    with pytest.raises(VerificationIncompleteError, match="can be no reference"):
        main(["--run", str(DATA / run)])
