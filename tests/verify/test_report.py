"""The documents: from records alone, and equal in content in both languages.

Each folder under tests/data/report is a made-up run. GOLDEN are those whose documents stand beside their records,
whole; of the others the tests hold the section that the run was made up for. After a deliberate change of a template:

    for run in cpu-stand-in emulated-faults npu-failed; do python -m verify.report --run tests/data/report/$run; done
"""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from env.language import LANGUAGES, Language, _
from tests.verify.report_runs import DATA, RUNS, data_of, document, evidence_of, row, section, with_record
from verify.report.facts import Facts
from verify.report.markdown import cell
from verify.report.render import DOCUMENTS, TEMPLATES, Formatter, render
from verify.run.plan import CHECKS, COMPONENTS
from verify.run.records import Evidence, Status, read_evidence
from verify.run.verdict import judge

GOLDEN = ("cpu-stand-in", "emulated-faults", "npu-failed")
MARKDOWN = MarkdownIt("commonmark").enable("table")


def structure(text: str) -> Iterator[tuple[str, int]]:
    """A document's headings with their level, tables with rows and cells, list items and code blocks, in order."""
    cells = rows = 0
    for token in MARKDOWN.parse(text):
        if token.type == "heading_open":
            yield token.tag, 1
        elif token.type == "table_open":
            cells = rows = 0
        elif token.type == "tr_open":
            rows += 1
        elif token.type in ("td_open", "th_open"):
            cells += 1
        elif token.type == "table_close":
            yield f"table of {rows} rows", cells
        elif token.type == "list_item_open":
            yield "item", 1
        elif token.type == "fence":
            yield "lines of code", token.content.count("\n")


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:[.,]\d+)*(?:e[-+]\d+)?", text))


# Whole documents


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("run", GOLDEN)
def test_document_is_the_golden_one(run: str, language: Language, kind: str) -> None:
    assert document(run, language, kind) == (DATA / run / f"{kind}.{language}.md").read_text(encoding="utf-8")


def test_no_other_run_has_its_documents_beside_it() -> None:
    assert {path.parent.name for path in DATA.glob("*/*.*.md")} == set(GOLDEN)


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("run", RUNS)
def test_both_languages_hold_the_same_sections_rows_and_figures(run: str, kind: str) -> None:
    chinese, english = document(run, "zh", kind), document(run, "en", kind)
    assert list(structure(chinese)) == list(structure(english))
    # "2" of "level 2" and its like are in both; a number that only one sentence holds would show here. The verdict's
    # line, the third, cuts long reasons after as many characters in both.
    assert numbers("".join(chinese.splitlines()[3:])) == numbers("".join(english.splitlines()[3:]))


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("run", RUNS)
def test_verdict_and_caveats_stand_at_the_head(run: str, language: Language, kind: str) -> None:
    evidence = evidence_of(run)
    verdict = judge(evidence)
    text = render(evidence, language, document=kind)
    head = text[: text.index("\n## ", text.index("\n## ") + 1)]
    assert verdict.headline(language) in head.splitlines()[2]
    assert ("EMULATED" in head) == any(record.emulated for record in evidence.records.values())
    for judged in verdict.checks:
        assert (f"`{judged.check}`" in head) == (judged.status is not Status.PASS)


@pytest.mark.parametrize("run", RUNS)
def test_every_check_is_listed_with_its_rerun_command(run: str) -> None:
    evidence = evidence_of(run)
    checks = section(render(evidence, "en"), "## Checks")
    for judged in judge(evidence).checks:
        line = row(checks, f"`{judged.check}`")
        assert f"| {judged.status.value}" in line
        if judged.check in evidence.records:
            assert f"`{evidence.records[judged.check].rerun}`" in line


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_of_the_plan_has_a_section(check: Any) -> None:
    run = "npu-soak-failed" if check.level > 3 or check.option else "setup-failed"
    assert f"Check `{check.name}`: **" in section_free(document(run, "en"))


def section_free(text: str) -> str:
    """A document without its summary, which names every check that did not pass."""
    return text[text.index("\n## Model architecture") :]


def test_templates_hold_one_language_in_lines_that_can_be_read() -> None:
    lines = [
        (path.name, number, line)
        for path in sorted(TEMPLATES.rglob("*.j2"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    ]
    assert [(name, number) for name, number, line in lines if len(line) > 120] == []
    assert [(name, number) for name, number, line in lines if re.search("[\u3000-\u9fff\uff00-\uffef]", line)] == []


# The section that a run was made up for


def test_damaged_files_are_named_with_what_is_wrong() -> None:
    text = document("damaged", "en")
    assert "damaged record: Unterminated string" in row(section(text, "## Checks"), "`parity`")
    damaged = section(text, "### Damaged files")
    assert row(damaged, "`parity.json`").startswith("| `parity.json` | Unterminated string starting at: line 35")
    assert row(damaged, "`setup.json`") == "| `setup.json` | schema 1 required, 2 found |"
    assert "There is no readable `setup.json`" in section(text, "## Preparation")


def test_a_crashed_worker_shows_its_signal_and_its_last_lines() -> None:
    crash = section(document("interrupted", "en"), "### `shapes`: error")
    reason, rerun, log = re.findall(r"```\w+\n(.*?)\n```", crash, re.DOTALL)
    assert reason == "the worker was ended by SIGSEGV"
    assert rerun == "nox -s verify -- --check shapes --device cpu --model-dir synthetic:tiny"
    assert "Fatal Python error: Segmentation fault\nCurrent thread" in log
    assert '(most recent call first):\n  File "/opt/bundle/' in log  # indented as it was


def test_figures_that_no_record_holds_are_not_recorded() -> None:
    text = document("interrupted", "en")
    assert "- Check `parity`: **not-run**." in text
    assert "| `encoder` | error (`shapes`) | not recorded | not recorded |" in text
    assert section(text, "## Performance") == "Check `benchmark`: **not-run**.\n"


def test_rounds_of_a_soak_that_differ_are_listed() -> None:
    soak = section(document("npu-soak-failed", "en"), "## Repeats and soak")
    assert row(soak, "Rounds that differ").endswith("| 2 |")
    assert row(soak, "Memory held: at first, at last, the most").endswith("| 4.53 GiB, 4.53 GiB, 4.53 GiB (device) |")
    assert row(soak, "611").endswith("| 261.4 | language_model.model.layers.17.mlp | 2 |")
    assert row(soak, "3907").endswith("| 1671.0 | the decoded tokens | 1 |")


def test_a_healthy_run_has_nothing_that_qualifies_it() -> None:
    text = document("npu-verified", "en")
    assert section(text, "### What qualifies the verdict").startswith("- None: ")
    assert row(text, "Peak memory (device), since the benchmark began").endswith("| 4.77 GiB |")
    assert "logits relative L2 1.9e-03 (limit 4.4e-02)" in row(text, "every row of a batch")


def test_a_failed_setup_is_all_that_is_known_of_a_run_without_records() -> None:
    text = document("setup-failed", "en")
    assert section(text, "### What qualifies the verdict").count("\n- ") == 1
    assert row(text, "Verification") == "| Verification | no readable `run.json` |"
    (reason,) = re.findall(r"```text\n(.*?)\n```", section(text, "## Preparation"), re.DOTALL)
    first, *problems, following = reason.splitlines()
    assert f"setup did not succeed: {first} · verification never started" in text.splitlines()[2]
    assert [line.split()[0] for line in problems] == ["-", "why:", "show:", "fix:"] * 2
    assert following == "  next: python -m env audit"
    assert section(text, "## Checks") == "There is no record of any check.\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_substituted_version_is_shown_beside_the_declared_one(language: Language) -> None:
    text = document("emulated-substituted", language)
    substituted, yes = ("已替换", "是") if language == "zh" else ("substituted", "yes")
    rows = [line for line in text.splitlines() if line.startswith("| torch-npu | 2.9.0.post1 | 2.9.0.post2 |")]
    versions, packages = rows
    assert versions.endswith(f"| {substituted} |")
    assert f"| {yes} |" in packages
    assert text.count("EMULATED") > len(evidence_of("emulated-substituted").records)


def test_what_an_audit_finds_is_listed_in_the_language_of_the_document() -> None:
    findings = section(document("emulated-substituted", "zh"), "## 主机审计")
    finding = row(findings, "warning | `memory-available`")
    assert "当前可用内存为 3.8 GiB，权重需要 4.2 GiB" in finding
    assert "<code>free -g" in finding


# Facts


def test_the_components_are_those_of_the_model() -> None:
    from tests.model.test_architecture import architecture

    assert tuple(architecture().output_shapes(1, 1, 1)) == COMPONENTS


def test_a_failed_component_is_told_from_the_passing_ones() -> None:
    evidence = evidence_of("npu-failed")
    rows = {component.name: component.status for component in Facts(evidence, judge(evidence)).accuracy()}
    failed = {"projector", "language_model", "end_to_end"}
    assert rows == {name: Status.FAIL if name in failed else Status.PASS for name in COMPONENTS}


@pytest.mark.parametrize(
    ("shape", "parity", "status"),
    [
        ({"shape": [1, 2], "expected": [1, 2], "finite": True}, {"passed": True}, Status.PASS),
        ({"shape": [1, 3], "expected": [1, 2], "finite": True}, {"passed": True}, Status.FAIL),
        ({"shape": [1, 2], "expected": [1, 2], "finite": False}, {"passed": True}, Status.FAIL),
        ({"shape": [1, 2], "expected": [1, 2], "finite": True}, {"passed": False}, Status.FAIL),
        ({"shape": [1, 2], "expected": [1, 2], "finite": True}, {}, Status.NOT_RUN),
        ({"shape": [1, 2], "finite": True}, {"passed": True}, Status.NOT_RUN),
        ({}, {"passed": True}, Status.NOT_RUN),
        ({}, {}, Status.NOT_RUN),
    ],
)
def test_a_component_passes_only_with_shape_finiteness_and_parity(
    shape: dict[str, object], parity: dict[str, object], status: Status
) -> None:
    evidence = Evidence(None, None, {}, {})
    assert Facts(evidence, judge(evidence))._accuracy("encoder", shape, parity, {}).status is status


@pytest.mark.parametrize(
    ("lost", "data", "shown"),
    [
        ("shapes", None, "not-run (`shapes`)"),
        ("parity", None, "not-run (`parity`)"),
        ("parity", {"components": {}}, "not compared (`parity`)"),
    ],
)
def test_a_component_names_the_check_that_tells_nothing_of_it(
    lost: str, data: dict[str, Any] | None, shown: str
) -> None:
    evidence = evidence_of("cpu-stand-in")
    records = {name: record for name, record in evidence.records.items() if name != lost}
    if data is not None:
        records[lost] = replace(evidence.records[lost], data=data)
    assert f"| `encoder` | {shown} |" in render(replace(evidence, records=records), "en")


# Figures and sentences in their places


def test_an_unreadable_file_does_not_put_this_machine_into_the_document(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "cpu-stand-in", run)
    (run / "records" / "parity.json").unlink()
    (run / "records" / "parity.json").mkdir()
    text = render(read_evidence(run), "en")
    assert "damaged record: Is a directory" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("sums", "line"),
    [
        ({"status": "differ"}, "| Files checked | **not as `SHA256SUMS` lists them** |\n"),
        ({"status": "of a later version"}, "| Files checked | of a later version |\n"),
        (None, ""),
    ],
)
def test_the_files_are_held_to_their_list_in_the_document(sums: object, line: str) -> None:
    data = {**data_of("npu-verified", "checkpoint"), "sums": sums}
    head, _row, after = render(with_record("npu-verified", "checkpoint", data=data), "en").partition(
        "| sha256 of the w"
    )
    assert after.partition("\n")[2].startswith(line or "| `encoder.num_layers` |")
    assert "Files checked" not in head


def test_a_check_that_the_plan_does_not_know_shows_its_figures() -> None:
    data = {"conv": {"rel_l2": 1.1e-4}, "switches": [{"name": "conv"}]}
    figures = section(render(with_record("cpu-stand-in", "hf32", status=Status.PASS, data=data), "en"), "### `hf32`")
    assert row(figures, "`conv.rel_l2`") == "| `conv.rel_l2` | 0.00011 |"
    assert row(figures, "`switches (n)`") == "| `switches (n)` | 1 |"


@pytest.mark.parametrize(
    ("changes", "healthy"),
    [
        ({}, True),
        ({"status": Status.ERROR, "reason": "killed"}, False),
        ({"status": Status.SKIP, "reason": "not here"}, False),
        ({"data": {}}, False),
        ({"emulated": True}, True),
    ],
)
def test_only_an_audit_that_ran_is_without_findings(changes: dict[str, Any], healthy: bool) -> None:
    audit = section(render(with_record("cpu-stand-in", "machine", **changes), "en"), "## Audit of the host")
    assert ("nothing wrong" in audit) == healthy
    assert ("no host of one was audited" in audit) == ("emulated" in changes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_documents_show_each_reference_beside_what_the_model_made_of_it(language: Language) -> None:
    text = document("npu-failed", language)
    task, none, empty = ("转写", "（无）", "（空）") if language == "zh" else ("transcribe", "(none)", "(empty)")
    for clip in data_of("npu-failed", "speech")["transcripts"]:
        target = f"→ {clip['target']}" if clip["target"] else task
        made = none if clip["hypothesis"] is None else cell(clip["hypothesis"]) or empty
        assert f"\n| {clip['clip']} | {clip['language']} | {target} | {clip['reference']} | {made} |" in text


def test_a_text_that_is_not_the_cpu_s_is_shown_beside_it() -> None:
    data = copy.deepcopy(dict(data_of("cpu-stand-in", "speech")))
    data["transcripts"][1]["hypothesis"] = "forty three"
    text = render(with_record("cpu-stand-in", "speech", data=data), "en")
    assert "| forty two | forty three | forty two | no: forty two |" in text


def test_the_texts_of_a_stand_in_are_not_taken_for_the_checkpoint_s() -> None:
    stand_in = "**The weights are a stand-in**"
    assert stand_in in section(document("cpu-stand-in", "en"), "## Speech in words")
    assert stand_in not in section(document("npu-verified", "en"), "## Speech in words")


def test_texts_without_a_limit_are_reported_only() -> None:
    assert "reported, not judged" in document("npu-verified", "en")
    judged = document("cpu-stand-in", "en")
    assert "reported, not judged" not in judged
    assert row(judged, "WER % | 2.9 [0.0, 8.6]").startswith(
        "| WER % | 2.9 [0.0, 8.6] | ≤ 6.1 | bfloat16 against float32"
    )


@pytest.mark.parametrize("run", ["emulated-substituted", "interrupted", "setup-failed"])
def test_a_run_without_a_text_has_no_table_of_texts(run: str) -> None:
    speech = section(document(run, "en"), "## Speech in words")
    assert speech.startswith("This run gave no words.")
    assert "|" not in speech


def test_a_layer_that_cannot_be_measured_has_a_reason() -> None:
    data = copy.deepcopy(dict(data_of("npu-failed", "layers")))
    data["isolated"]["closest"][0] |= {"rel_l2": None, "worst_element": None, "excess": None}
    text = render(with_record("npu-failed", "layers", data=data), "en")
    line = next(line for line in text.splitlines() if line.startswith("| `projector.qformer") and "1.5e-07" in line)
    assert line.endswith("| another shape, NaN or infinity |")


def test_a_configuration_that_cannot_be_compared_fails() -> None:
    data = copy.deepcopy(dict(data_of("npu-verified", "configurations")))
    data["rows"][0] |= {"value": None, "passed": False}
    text = render(with_record("npu-verified", "configurations", data=data), "en")
    assert "| not comparable | 8.0e-06 | **fail** |" in text


def test_differences_between_runs_processes_and_places_are_named() -> None:
    data = copy.deepcopy(dict(data_of("npu-verified", "repeatability")))
    data["process"]["first_difference"] = "encoder.layers.3"
    data["warm"]["projector"] = data["warm"]["splice"] = False
    text = render(with_record("npu-verified", "repeatability", data=data), "en")
    assert "| another process | 1 | **encoder.layers.3** |" in text
    assert "| warm, against the very first run | 1 | **projector, splice** |" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (_("level {level}", level=2), "级别 2"),
        (_("level {level}", level=2).as_json(), "级别 2"),
        ("skip", "跳过"),
        ("of another version", "of another version"),
        ([_("skip"), "and more"], ["跳过", "and more"]),
        (None, None),
        ({"message": 3}, {"message": 3}),
        ("{n}", "{n}"),
    ],
)
def test_a_sentence_of_a_record_is_shown_in_the_language_of_the_document(value: object, shown: object) -> None:
    assert Formatter("zh").message(value) == shown
