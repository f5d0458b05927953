"""The stored formats: what `asdict` writes fits the schemas, what is wrong does not, and readers agree with them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from verify.run.records import Record, Run, Status, read_evidence, write_record, write_run

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "verify" / "schemas"
DATA = ROOT / "tests" / "data" / "report"
CUT = DATA / "damaged" / "records" / "parity.json"
NEWER = DATA / "damaged" / "setup.json"
RECORDS = sorted(set(DATA.glob("*/records/*.json")) - {CUT})


@cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def case_of(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


@pytest.mark.parametrize("path", RECORDS, ids=case_of)
def test_records_fit_their_schema(path: Path) -> None:
    validator("record").validate(read(path))


@pytest.mark.parametrize("path", sorted(DATA.glob("*/run.json")), ids=lambda path: path.parent.name)
def test_runs_fit_their_schema(path: Path) -> None:
    validator("run").validate(read(path))


@pytest.mark.parametrize("path", sorted(set(DATA.glob("*/setup.json")) - {NEWER}), ids=lambda path: path.parent.name)
def test_setups_fit_their_schema(path: Path) -> None:
    validator("setup").validate(read(path))


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(ValidationError, match="1 was expected"):
        validator("setup").validate(read(NEWER))


def test_what_is_written_fits_and_is_read_back_equal(tmp_path: Path) -> None:
    run = Run(
        "20260801T100000Z-1", "2026-08-01T10:00:00Z", 2, "cpu", "m", "auto", 42, ("load",), "nox", {"commit": "x"}
    )
    record = Record(
        "load", 2, Status.SKIP, "why", "2026-08-01T10:00:00Z", 0.5, {"x": [1]}, {"n": 3}, "nox", ("a", "b"), True
    )
    write_run(tmp_path, run)
    write_record(tmp_path, record)
    validator("run").validate(read(tmp_path / "run.json"))
    validator("record").validate(read(tmp_path / "records" / "load.json"))
    evidence = read_evidence(tmp_path)
    assert (evidence.run, evidence.records, evidence.damaged) == (run, {"load": record}, {})


def test_a_run_with_every_end_of_a_check_fits(tmp_path: Path) -> None:
    checks = "passes,fails,skips,raises,segfaults"
    command = [sys.executable, "-m", "tests.verify.small_run", checks, "--level", "1", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 30, done.stderr
    (folder,) = tmp_path.iterdir()
    validator("run").validate(read(folder / "run.json"))
    validator("setup").validate(read(folder / "setup.json"))
    written = sorted((folder / "records").iterdir())
    assert [path.stem for path in written] == sorted(checks.split(","))
    for path in written:
        validator("record").validate(read(path))


WRONG_RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "a field is missing": ("load", {"seconds": None}),
    "an unknown field": ("load", {"verdict": "pass"}),
    "an unknown status": ("load", {"status": "ok"}),
    "not-run is never written": ("load", {"status": "not-run"}),
    "a failure without a reason": ("load", {"status": "fail", "reason": ""}),
    "a local time": ("load", {"started": "2026-08-01 10:00:00"}),
    "a negative duration": ("load", {"seconds": -1}),
    "no rerun command": ("load", {"rerun": ""}),
    "a log in one string": ("load", {"log": "text"}),
    "parity without components": ("parity", {"data": {"reference": {"device": "cpu", "dtype": "float32"}}}),
    "a benchmark without figures": ("benchmark", {"data": {}}),
    "weights of an unknown kind": ("checkpoint", {"data.kind": "real"}),
    "one run repeats nothing": ("determinism", {"data.runs": 1}),
    "a component without its limits": ("parity", {"data.components.encoder.limits": {}}),
    "a transcript without its text": ("speech", {"data.transcripts": [{"clip": "a.flac"}]}),
    "a pass with a clip that failed": ("speech", {"data.failed": [{"key": "a.flac", "error": "is empty"}]}),
    "a score without its signature": ("speech", {"data.rtfx.signature": ""}),
    "a limit of words without a source": ("speech", {"data.limits": {"wer_at_most": 6.1}}),
    "a limit without a source": ("parity", {"data.components.encoder.limit_source": ""}),
}


@pytest.mark.parametrize("case", WRONG_RECORDS)
def test_wrong_records_do_not_fit(case: str) -> None:
    check, changes = WRONG_RECORDS[case]
    value = copy.deepcopy(read(DATA / "npu-verified" / "records" / f"{check}.json"))
    for dotted, wrong in changes.items():
        *path, name = dotted.split(".")
        target = value
        for key in path:
            target = target[key]
        target[name] = wrong
    with pytest.raises(ValidationError):
        validator("record").validate(value)


@pytest.mark.parametrize("check", sorted(path.stem for path in (DATA / "npu-verified" / "records").glob("*.json")))
def test_every_declared_figure_is_required_of_a_pass(check: str) -> None:
    value = read(DATA / "npu-verified" / "records" / f"{check}.json")
    for name in read(SCHEMAS / "record.schema.json")["$defs"][check]["required"]:
        lacking = {**value, "data": {k: v for k, v in value["data"].items() if k != name}}
        with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
            validator("record").validate(lacking)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("[]", "is not a JSON object"),
        ('{"schema": 2}', "schema 1 required, 2 found"),
        ('{"schema": 1}', "check is missing"),
        ("[" * 100_000, "recursion"),
        ("\x00", "Expecting value"),
    ],
)
def test_a_damaged_record_is_named_with_what_is_wrong(text: str, why: str, tmp_path: Path) -> None:
    write_run(tmp_path, Run("r", "t", 1, "cpu", "m", "auto", 42, ("load",), "nox", {}))
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "load.json").write_text(text)
    evidence = read_evidence(tmp_path)
    assert evidence.status("load") is Status.ERROR
    assert why in evidence.damaged["load.json"]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("data", []), ("log", "text"), ("seconds", "1"), ("check", 3), ("level", None), ("emulated", "no"), ("rerun", 1)],
)
def test_a_field_of_the_wrong_type_is_damage(field: str, wrong: object, tmp_path: Path) -> None:
    value = {**read(DATA / "npu-verified" / "records" / "load.json"), field: wrong}
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "load.json").write_text(json.dumps(value))
    (tmp_path / "setup.json").write_text('{"schema": 1}')
    assert read_evidence(tmp_path).damaged["load.json"] == f"{field} is a {type(wrong).__name__}"
