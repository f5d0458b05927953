"""A run in the formats that others take: each read back by its own tool or schema, and what must not be published."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from markdown_it import MarkdownIt

from env.errors import RecordError, UsageError, VerificationIncompleteError
from tests.verify.report_runs import DATA, RUNS, with_record
from verify.report.export import attestation, hub, junit, text
from verify.report.export.__main__ import FORMATS, main
from verify.report.export.run import Exported, RefusedError
from verify.run.records import Status
from verify.run.verdict import Word

CLAIMS = ("eval-results", "model-index", "model-card")
BENCHMARK = hub.Benchmark("someone/a-benchmark", "asr", "a" * 40, "https://example.org/evaluation")
# https://github.com/in-toto/attestation, spec/v1 and spec/predicates/test-result.md: the package of that name takes any
# result and an empty configuration, so the rules are written out here.
DESCRIPTOR = {
    "type": "object",
    "required": ["digest"],
    "properties": {
        "digest": {"type": "object", "properties": {"sha256": {"pattern": "^[0-9a-f]{64}$"}}, "minProperties": 1}
    },
}
TESTS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
STATEMENT = {
    "type": "object",
    "required": ["_type", "subject", "predicateType", "predicate"],
    "additionalProperties": False,
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {"type": "array", "minItems": 1, "items": DESCRIPTOR},
        "predicateType": {"const": "https://in-toto.io/attestation/test-result/v0.1"},
        "predicate": {
            "type": "object",
            "required": ["result", "configuration"],
            "additionalProperties": False,
            "properties": {
                "result": {"enum": ["PASSED", "WARNED", "FAILED"]},
                "configuration": {"type": "array", "minItems": 1, "items": DESCRIPTOR},
                **dict.fromkeys(("passedTests", "warnedTests", "failedTests"), TESTS),
            },
        },
    },
}

# https://github.com/huggingface/hub-docs/blob/main/eval_results.yaml, and EvalResultEntry of huggingface_hub 1 and 2,
# which the declared transformers does not go with: its parser and its writer know these fields and no others.
TEXT = {"type": "string"}
SOURCE = {"url": TEXT, "name": TEXT, "user": TEXT, "org": TEXT}
DATASET = {"id": {"type": "string", "pattern": "^[^/]+/[^/]+$"}, "task_id": TEXT, "revision": TEXT}
EVALUATION_RESULTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["dataset", "value"],
        "additionalProperties": False,
        "properties": {
            "dataset": {
                "type": "object",
                "required": ["id", "task_id"],
                "additionalProperties": False,
                "properties": DATASET,
            },
            "value": {"type": "number"},
            "source": {"type": "object", "required": ["url"], "additionalProperties": False, "properties": SOURCE},
            **dict.fromkeys(("date", "notes", "verifyToken"), TEXT),
        },
    },
}


def run_of(name: str) -> Exported:
    return Exported.read(DATA / name)


# JUnit


@pytest.mark.parametrize("name", RUNS)
def test_every_check_is_a_testcase_and_nothing_that_did_not_pass_reads_as_a_pass(name: str) -> None:
    run = run_of(name)
    (suite,) = ElementTree.fromstring(junit.text(run))
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [judged.check for judged in run.verdict.checks]
    assert len({case.get("name") for case in cases}) == len(cases)  # GitLab counts the first of a name only
    for case, judged in zip(cases, run.verdict.checks, strict=True):
        tags = {child.tag for child in case} - {"properties"}
        expected = {Status.PASS: set(), Status.SKIP: {"skipped"}, Status.FAIL: {"failure"}}
        assert tags == expected.get(judged.status, {"error"})
        assert float(str(case.get("time"))) >= 0
        assert str(case.get("classname")).startswith("granite_speech.")
    assert int(str(suite.get("tests"))) == len(cases)
    counted = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counted.items():
        assert int(str(suite.get(attribute))) == len(suite.findall(f"testcase/{tag}"))


def test_junit_s_own_parser_reads_it(tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser")
    run = run_of("npu-failed")
    (tmp_path / "junit.xml").write_text(junit.text(run), encoding="utf-8")
    suites = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suites.tests, suites.failures, suites.errors) == (len(run.verdict.checks), 7, 1)


# GitHub's summary, CSV


def test_a_summary_is_the_document_without_links_that_lead_nowhere() -> None:
    summary = text.summary(run_of("npu-verified"))
    assert "| Machine | Ascend910B4, npu:0" in summary
    assert "](evidence" not in summary
    MarkdownIt("commonmark").enable("table").parse(summary)


def test_a_summary_that_is_too_long_is_cut_and_says_so() -> None:
    summary = text.summary(run_of("npu-verified"), most=3000)
    assert len(summary.encode()) <= 3000
    assert summary.endswith("(cut here: the whole is in the run's folder)\n")


@pytest.mark.parametrize("name", RUNS)
def test_every_figure_is_a_row_of_the_table(name: str) -> None:
    run = run_of(name)
    head, *rows = csv.reader(io.StringIO(text.table(run)))
    assert tuple(head) == text.COLUMNS
    assert {len(row) for row in rows} <= {len(head)}
    assert list(dict.fromkeys(row[1] for row in rows)) == [judged.check for judged in run.verdict.checks]


@pytest.mark.parametrize("value", ["=1+1", "+cmd", "-2+3", "@SUM(A1)"])
def test_no_text_of_a_record_is_a_formula_to_a_spreadsheet(value: str) -> None:
    evidence = with_record("cpu-stand-in", "hf32", status=Status.PASS, data={"conv": value})
    rows = list(csv.reader(io.StringIO(text.table(Exported(DATA / "npu-verified", evidence)))))
    assert next(row for row in rows if row[1] == "hf32")[4] == f"'{value}"


# The attestation


@pytest.mark.parametrize(
    ("name", "result"), [("npu-verified", "PASSED"), ("npu-failed", "FAILED"), ("npu-soak-failed", "FAILED")]
)
def test_a_statement_is_as_its_specification_has_it(name: str, result: str) -> None:
    statement = json.loads(attestation.text(run_of(name)))
    jsonschema.validate(statement, STATEMENT)
    assert statement["predicate"]["result"] == result
    named = [check for kind in ("passedTests", "warnedTests", "failedTests") for check in statement["predicate"][kind]]
    assert sorted(named) == sorted(judged.check for judged in run_of(name).verdict.checks)


def test_a_skipped_check_warns_and_is_never_left_out() -> None:
    evidence = with_record("npu-verified", "benchmark", status=Status.SKIP, reason="0 rounds", data={})
    run = Exported(DATA / "npu-verified", evidence)
    assert run.verdict.word is Word.VERIFIED
    predicate = json.loads(attestation.text(run))["predicate"]
    assert (predicate["result"], predicate["warnedTests"], predicate["failedTests"]) == ("WARNED", ["benchmark"], [])


def test_the_library_of_in_toto_takes_the_statement() -> None:
    pytest.importorskip("in_toto_attestation")
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1.statement import Statement

    value = json.loads(attestation.text(run_of("npu-verified")))
    statement = Statement([], "", {})
    ParseDict(value, statement.pb)
    statement.validate()


# The Hub


def test_evaluation_results_are_what_the_hub_takes() -> None:
    yaml = pytest.importorskip("yaml")
    entries = yaml.safe_load(hub.evaluation_results(run_of("npu-verified"), BENCHMARK))
    jsonschema.validate(entries, EVALUATION_RESULTS)
    (entry,) = entries
    assert entry["dataset"] == {"id": "someone/a-benchmark", "task_id": "asr", "revision": "a" * 40}
    assert entry["value"] == pytest.approx(2.941, abs=1e-3)
    assert entry["notes"].startswith("verified · npu:0")


def test_a_benchmark_is_never_invented() -> None:
    with pytest.raises(RefusedError, match="none was named"):
        hub.evaluation_results(run_of("npu-verified"), None)
    with pytest.raises(UsageError, match="belong together"):
        main(["--run", str(DATA / "npu-verified"), "--dataset", "x"])


def test_a_model_index_is_read_by_the_hub_s_library() -> None:
    library = pytest.importorskip("huggingface_hub.repocard_data")
    name, results = library.model_index_to_eval_results(hub.model_index(run_of("npu-verified"))["model-index"])
    assert name == "granite-speech-4.1-2b on Ascend NPU"
    assert [(one.task_type, one.metric_type) for one in results] == [
        ("automatic-speech-recognition", "wer"),
        ("automatic-speech-recognition", "cer"),
    ]


def test_a_card_has_the_front_matter_that_adaptations_are_graded_by() -> None:
    library = pytest.importorskip("huggingface_hub")
    card = hub.card(run_of("npu-verified"))
    data = library.ModelCard(card).data.to_dict()
    assert data["hardware"] == "NPU"
    assert {"NPU", "Ascend", "ascend-npu"} <= set(data["tags"])
    lines = card.splitlines()
    assert "hardware: NPU" in lines
    assert "#+NPU" in lines
    assert "| `cosine_similarity` |" in card
    assert "| `real_weights_loaded` | yes |" in card


def test_a_figure_without_a_record_is_left_out_by_its_name() -> None:
    card = hub.card(run_of("npu-verified"))
    assert "Left out, for no record holds them: `mean_abs_diff`." in card
    assert "| `mean_abs_diff` |" not in card
    assert "| |" not in card.replace("| --- |", "")
    assert "not recorded" not in card


# What must not be published


@pytest.mark.parametrize("name", [run for run in RUNS if run != "npu-verified"])
@pytest.mark.parametrize("form", CLAIMS)
def test_a_run_that_is_not_a_verified_npu_claims_nothing(name: str, form: str, tmp_path: Path) -> None:
    arguments = ["--run", str(DATA / name), "--format", form, "--output", str(tmp_path)]
    with pytest.raises(VerificationIncompleteError, match="cannot be published"):
        main([*arguments, "--dataset", "x/y", "--task", "z"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cpu-stand-in", "emulated-faults", "emulated-substituted"])
def test_a_stand_in_and_an_emulated_device_attest_nothing(name: str) -> None:
    with pytest.raises(RefusedError, match="the run's verdict is qualified: "):
        attestation.text(run_of(name))


def test_a_verified_cpu_has_no_card_of_an_npu() -> None:
    evidence = with_record("npu-verified", "device", data={"kind": "cpu", "index": None, "name": "a CPU"})
    run = Exported(DATA / "npu-verified", evidence)
    with pytest.raises(RefusedError):
        hub.card(run)


def test_all_formats_at_once_are_those_that_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model-index.json").write_text("{}")  # of an earlier run
    forms = [part for form in FORMATS if form != "sbom" for part in ("--format", form)]
    with pytest.raises(VerificationIncompleteError):
        main(["--run", str(DATA / "cpu-stand-in"), "--output", str(tmp_path), *forms])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.csv", "junit.xml", "summary.md"]
    assert "model-card: refused: the run's verdict is qualified: stand-in weights" in capsys.readouterr().out


def test_a_runner_s_summary_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "step").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step"))
    assert main(["--run", str(DATA / "npu-failed"), "--format", "github-summary", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "step").read_text(encoding="utf-8") == "before\n" + (tmp_path / "summary.md").read_text("utf-8")


def test_no_records_is_an_error_with_a_next_command(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run in"):
        main(["--run", str(tmp_path)])


# The bill of materials


@pytest.fixture
def bom() -> dict[str, Any]:
    pytest.importorskip("cyclonedx")
    from verify.report.export import sbom

    value: dict[str, Any] = json.loads(sbom.text(run_of("npu-verified")))
    return value


def test_the_bill_of_materials_is_valid_by_its_own_schema_and_the_same_twice(bom: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    from verify.report.export import sbom

    made = sbom.text(run_of("npu-verified"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None
    assert json.loads(made) == bom
    assert made == sbom.text(run_of("npu-verified"))


def test_the_bill_of_materials_has_packages_with_hashes_the_model_and_the_device(bom: dict[str, Any]) -> None:
    kinds = {component["name"]: component for component in bom["components"]}
    assert kinds["transformers"]["purl"].startswith("pkg:pypi/transformers@")
    assert kinds["transformers"]["hashes"]
    assert kinds["granite-speech-4.1-2b"]["type"] == "machine-learning-model"
    assert kinds["Ascend910B4"]["type"] == "device"
    assert kinds["driver"]["type"] == "device-driver"
    assert kinds["torch-npu"]["hashes"] == [
        {"alg": "SHA-256", "content": "1f7c0e5d9a3b4826d1e0f5c7b9a8436251e4d7f0c3b6a9582d1e4f70c5b8a963"}
    ]
