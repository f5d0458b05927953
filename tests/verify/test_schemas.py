"""The stored formats: the schemas are those of the types, what is written fits them, and readers agree with them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from env.errors import VerificationFailedError
from env.language import Message, _
from verify.run import schema
from verify.run.figures import FIGURES
from verify.run.plan import CHECKS
from verify.run.records import Record, Run, Status, read_evidence, write_record, write_run

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {"faults": ROOT / "verify" / "schemas"}
DATA = ROOT / "tests" / "data" / "report"
CUT = DATA / "damaged" / "records" / "parity.json"
NEWER = DATA / "damaged" / "setup.json"
RECORDS = sorted(set(DATA.glob("*/records/*.json")) - {CUT})


RUN = Run("20260801T100000Z-1", "2026-08-01T10:00:00Z", 2, "cpu", "m", "auto", 42, ("load",), "nox", {"commit": "x"})


@cache
def validator(name: str) -> Draft202012Validator:
    document = json.loads((SCHEMAS.get(name, schema.FOLDER) / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def case_of(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


def test_the_schemas_that_ship_are_those_of_the_types() -> None:
    assert schema.stale(schema.documents()) == []
    assert schema.main(["--check"]) == 0


def test_a_stale_schema_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(schema, "FOLDER", tmp_path)
    with pytest.raises(VerificationFailedError, match=r"record.schema.json, run.schema.json, setup.schema.json"):
        schema.main(["--check"])
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0


def test_every_check_of_the_plan_has_its_figures() -> None:
    assert list(FIGURES) == [check.name for check in CHECKS]


@pytest.mark.parametrize("path", RECORDS, ids=case_of)
def test_records_are_read_and_written_back_as_they_are(path: Path, tmp_path: Path) -> None:
    evidence = read_evidence(path.parents[1])
    assert path.name not in evidence.damaged
    record = evidence.records[path.stem]
    write_record(tmp_path, record)
    assert read(tmp_path / "records" / path.name) == read(path)
    if record.figures is not None:
        own = {name: value for name, value in record.data.items() if name != "doctor"}
        written = record.figures.as_json()
        assert {name: written[name] for name in own}.keys() == own.keys()


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
    with pytest.raises(ValidationError, match=r"2 is not one of \[1\]"):
        validator("setup").validate(read(NEWER))


def test_what_is_written_fits_and_is_read_back_equal(tmp_path: Path) -> None:
    run = RUN
    record = Record("load", 2, Status.SKIP, "why", "2026-08-01T10:00:00Z", 0.5, {}, {"n": 3}, "nox", ("a", "b"), True)
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
    definitions = read(schema.FOLDER / "record.schema.json")["$defs"]
    for name in definitions[FIGURES[check].__name__]["required"]:
        lacking = {**value, "data": {k: v for k, v in value["data"].items() if k != name}}
        with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
            validator("record").validate(lacking)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("[]", "is not a JSON object"),
        ('{"schema": 2}', "schema 1 required, 2 found"),
        ('{"schema": 1}', "reason is missing"),
        ('{"schema": 1, "reason": ""}', "check is missing"),
        ("[" * 100_000, "nested too deeply"),
        ("\x00", "Expecting value"),
    ],
)
def test_a_damaged_record_is_named_with_what_is_wrong(text: str, why: str, tmp_path: Path) -> None:
    write_run(tmp_path, RUN)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "load.json").write_text(text)
    evidence = read_evidence(tmp_path)
    assert evidence.status("load") is Status.ERROR
    assert why in evidence.damaged["load.json"]


WRONG_FIELDS: dict[str, tuple[str, str, Any, str]] = {
    "an array for figures": ("load", "data", [], "data is []: Expected `object`, got `array`"),
    "a log in one string": ("load", "log", "text", 'log is "text": Expected `array`, got `str`'),
    "text for a number": ("load", "seconds", "1", 'seconds is "1": Expected `float`, got `str`'),
    "a number for text": ("load", "check", 3, "check is 3: Expected `str`, got `int`"),
    "nothing": ("load", "level", None, "level is null: Expected `int`, got `null`"),
    "text for yes or no": ("load", "emulated", "no", 'emulated is "no": Expected `bool`, got `str`'),
    "an unknown status": ("load", "status", "ok", "status is \"ok\": Invalid enum value 'ok'"),
    "not run": ("load", "status", "not-run", "a check that was not run leaves no record"),
    "a passed check without figures": ("load", "data", {}, "data is empty, and the check passed"),
    "an unknown field": ("load", "verdict", "pass", "verdict is unknown"),
    "another check's name": ("load", "check", "device", "is the record of device"),
    "a figure of another type": ("load", "data.seconds", "x", 'data.seconds is "x": Expected `float`, got `str`'),
    "an unknown figure": ("load", "data.second", 1, "data.second is unknown"),
    "too few runs": ("determinism", "data.runs", 1, "data.runs is 1: Expected `int` >= 2"),
    "in a list": (
        "layers", "data.isolated.closest", [{}], "data.isolated.closest[0].name is missing"
    ),
    "under a key": (
        "parity", "data.components.encoder.passed", 1, "data.components[...].passed: Expected `bool`, got `int`"
    ),
    "a signature of another type": (
        "load", "signature.batch", "one", 'signature.batch is "one": Expected `int | null`, got `str`'
    ),
    "an unknown signature": ("load", "signature.colour", "red", "signature.colour is unknown"),
    "a reason of neither form": ("load", "reason", 3, "reason: a message is a string or has `message` and `fields`"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_FIELDS)
def test_a_damaged_field_is_named_with_what_it_should_be_and_what_is_there(case: str, tmp_path: Path) -> None:
    check, dotted, wrong, why = WRONG_FIELDS[case]
    value = copy.deepcopy(read(DATA / "npu-verified" / "records" / f"{check}.json"))
    *path, name = dotted.split(".")
    target = value
    for key in path:
        target = target[key]
    target[name] = wrong
    write_run(tmp_path, RUN)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{check}.json").write_text(json.dumps(value))
    assert str(read_evidence(tmp_path).damaged[f"{check}.json"]) == why


@pytest.mark.parametrize(("field", "wrong"), [("status", "skip"), ("seconds", "x"), ("command", ""), ("data", [])])
def test_a_damaged_setup_is_named(field: str, wrong: object, tmp_path: Path) -> None:
    value = {**read(DATA / "npu-verified" / "setup.json"), field: wrong}
    (tmp_path / "setup.json").write_text(json.dumps(value))
    evidence = read_evidence(tmp_path)
    assert evidence.setup is None
    assert evidence.damaged["setup.json"].startswith(field)


def test_a_reason_keeps_its_template_and_its_fields(tmp_path: Path) -> None:
    reason = _("{count} of {all} recordings give no text", count=2, all=3)
    record = replace(read_evidence(DATA / "npu-verified").records["load"], reason=reason)
    write_run(tmp_path, RUN)
    write_record(tmp_path, record)
    stored = read(tmp_path / "records" / "load.json")
    validator("record").validate(stored)
    assert stored["reason"] == {
        "message": "{count} of {all} recordings give no text",
        "fields": {"count": 2, "all": 3},
    }
    back = read_evidence(tmp_path).records["load"].reason
    assert isinstance(back, Message)
    assert (back, back.template, back.fields) == (str(reason), reason.template, reason.fields)
