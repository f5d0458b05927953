"""The documents: whole, from records alone, the same bytes everywhere, and equal in content in both languages.

Each folder under tests/data/report is a made-up run with the two documents that it must give. After a deliberate
change of a template, render them again and read the difference before committing it:

    for run in tests/data/report/*/; do python -m verify.report --run $run; done
"""

from __future__ import annotations

import copy
import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from env.errors import RecordError, StorageError
from verify.report.__main__ import latest_run, main
from verify.report.campaign import attached
from verify.report.facts import Facts
from verify.report.markdown import cell
from verify.report.render import LANGUAGES, render
from verify.run.records import Evidence, Status, read_evidence
from verify.run.verdict import Language, judge

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "report"
CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())
MARKDOWN = MarkdownIt("commonmark").enable("table")


def shape_of(document: str) -> Iterator[tuple[str, int]]:
    """A document's headings with their level, tables with rows and cells, list items and code blocks, in order."""
    cells = rows = 0
    for token in MARKDOWN.parse(document):
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


def numbers_of(document: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:[.,]\d+)*(?:e[-+]\d+)?", document))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_document_is_the_golden_one(case: str, language: str) -> None:
    golden = (DATA / case / f"report.{language}.md").read_text(encoding="utf-8")
    assert render(read_evidence(DATA / case), language, attached(DATA / case)) == golden  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES)
def test_both_languages_hold_the_same_sections_rows_and_figures(case: str) -> None:
    evidence, campaign = read_evidence(DATA / case), attached(DATA / case)
    chinese, english = render(evidence, "zh", campaign), render(evidence, "en", campaign)
    assert list(shape_of(chinese)) == list(shape_of(english))
    # "2" of "level 2" and its like are in both; a number that only one sentence says would show here.
    assert numbers_of(chinese) == numbers_of(english)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_verdict_and_caveats_stand_at_the_head(case: str, language: str) -> None:
    evidence = read_evidence(DATA / case)
    verdict = judge(evidence)
    document = render(evidence, language)  # type: ignore[arg-type]
    head = document[: document.index("\n## ", document.index("\n## ") + 1)]
    assert verdict.headline(language) in head.splitlines()[2]  # type: ignore[arg-type]
    assert ("EMULATED" in head) == any(record.emulated for record in evidence.records.values())
    for judged in verdict.checks:
        assert (f"`{judged.check}`" in head) == (judged.status is not Status.PASS)


@pytest.mark.parametrize("case", CASES)
def test_every_check_is_listed_with_its_rerun_command(case: str) -> None:
    evidence = read_evidence(DATA / case)
    english = render(evidence, "en")
    for judged in judge(evidence).checks:
        row = next(line for line in english.splitlines() if line.startswith(f"| `{judged.check}` | ") and "nox" in line)
        assert f"| {judged.status.value}" in row
        if judged.check in evidence.records:
            assert f"`{evidence.records[judged.check].rerun}`" in row


def test_figures_that_no_record_holds_are_said_to_be_missing() -> None:
    document = render(read_evidence(DATA / "interrupted"), "en")
    assert "- Check `parity`: **not-run**." in document
    assert "| `encoder` | error (`shapes`) | not recorded | not recorded |" in document
    assert "Check `benchmark`: **not-run**." in document
    assert "p50 ms" not in document


@pytest.mark.parametrize(
    ("sums", "row"),
    [
        ({"status": "differ"}, "| Files checked | **not as `SHA256SUMS` lists them** |\n"),
        ({"status": "of a later version"}, "| Files checked | of a later version |\n"),
        (None, ""),
    ],
)
def test_the_files_are_held_to_their_list_in_the_document(sums: object, row: str) -> None:
    data = read_evidence(DATA / "npu-verified").records["checkpoint"].data
    document = render(with_record("npu-verified", "checkpoint", data={**data, "sums": sums}), "en")
    head, _, after = document.partition("| sha256 of the weights |")
    assert after.partition("\n")[2].startswith(row or "| `encoder.num_layers` |")
    assert "Files checked" not in head


def test_a_crashed_child_shows_its_signal_and_its_last_lines() -> None:
    document = render(read_evidence(DATA / "interrupted"), "en")
    crash = document[document.index("### `shapes`: error") :]
    assert crash.splitlines()[2:5] == ["```text", "the worker died of SIGSEGV (signal 11)", "```"]
    assert "Fatal Python error: Segmentation fault\nCurrent thread" in crash
    assert '(most recent call first):\n  File "/opt/bundle/' in crash  # indented as it was


def test_a_failed_component_is_told_from_the_passing_ones() -> None:
    evidence = read_evidence(DATA / "npu-failed")
    rows = {row.name: row.status for row in Facts(evidence, judge(evidence)).accuracy()}
    assert rows == {
        "encoder": Status.PASS,
        "ctc_head": Status.PASS,
        "projector": Status.FAIL,
        "splice": Status.PASS,
        "language_model": Status.FAIL,
        "end_to_end": Status.FAIL,
    }


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
def test_a_component_names_the_check_that_says_nothing_of_it(
    lost: str, data: dict[str, Any] | None, shown: str
) -> None:
    evidence = read_evidence(DATA / "cpu-stand-in")
    records = {name: record for name, record in evidence.records.items() if name != lost}
    if data is not None:
        records[lost] = replace(evidence.records[lost], data=data)
    assert f"| `encoder` | {shown} |" in render(replace(evidence, records=records), "en")


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C", "TZ": "Asia/Shanghai", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C.UTF-8", "TZ": "America/New_York", "PYTHONHASHSEED": "2", "PYTHONUTF8": "0"},
    ],
)
def test_same_bytes_in_another_folder_locale_time_zone_and_hash_seed(tmp_path: Path, environ: dict[str, str]) -> None:
    run = tmp_path / "another place" / "renamed"
    shutil.copytree(DATA / "npu-failed", run, ignore=shutil.ignore_patterns("*.md"))
    command = [sys.executable, "-m", "verify.report", "--run", str(run), "--output", str(tmp_path / "out")]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for language in LANGUAGES:
        name = f"report.{language}.md"
        assert (tmp_path / "out" / name).read_bytes() == (DATA / "npu-failed" / name).read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "out" / name).read_bytes()


def test_an_unreadable_file_does_not_put_this_machine_into_the_document(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "cpu-stand-in", run)
    (run / "records" / "parity.json").unlink()
    (run / "records" / "parity.json").mkdir()
    document = render(read_evidence(run), "en")
    assert "damaged record: Is a directory" in document
    assert str(tmp_path) not in document


def test_rendering_needs_no_torch_and_help_no_jinja(tmp_path: Path) -> None:
    program = (
        "import sys; from verify.report.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert 'jinja2' not in sys.modules\n"
        f"main(['--run', {str(DATA / 'cpu-stand-in')!r}, '--output', {str(tmp_path)!r}])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'rich', 'jsonschema'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {name for name in sys.modules if name.startswith('model.')} == {'model.signature', 'model.size'}"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The program


def copied(case: str, folder: Path) -> Path:
    shutil.copytree(DATA / case, folder, ignore=shutil.ignore_patterns("*.md"))
    return folder


def test_newest_run_is_rendered_into_its_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied("npu-failed", tmp_path / "20260801T100000Z-ffff")
    newest = copied("cpu-stand-in", tmp_path / "20260802T100000Z-0000")
    (tmp_path / "20260803T100000Z-0000").mkdir()  # a run that died before it wrote anything
    assert main(["--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(newest / "report.zh.md"),
        str(newest / "report.en.md"),
        "verified (stand-in weights) · cpu (auto) · float32 (auto) · level 2 · 18 pass, "
        "1 skip (hf32: HF32 exists on NPU only)",
    ]


def test_a_run_is_named_by_its_id(tmp_path: Path) -> None:
    run = copied("cpu-stand-in", tmp_path / "20260801T100000Z-ffff")
    assert main(["--results", str(tmp_path), "--run", run.name]) == 0
    assert (run / "report.zh.md").exists()


def test_setup_alone_is_a_run(tmp_path: Path) -> None:
    run = copied("setup-failed", tmp_path / "20260801T100000Z-0000")
    assert latest_run(tmp_path) == run


@pytest.mark.parametrize(
    ("case", "exit_code"),
    [("npu-verified", 0), ("npu-failed", 30), ("setup-failed", 30), ("interrupted", 31), ("damaged", 31)],
)
def test_strict_exits_with_the_verdict(case: str, exit_code: int, tmp_path: Path) -> None:
    arguments = ["--run", str(DATA / case), "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert main([*arguments, "--strict"]) == exit_code


@pytest.mark.parametrize("arguments", [["--results", "nowhere"], ["--run", "nowhere"], ["--run", "."]])
def test_no_records_is_an_error_with_a_next_command(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match="no run in") as caught:
        main(arguments)
    assert "nox -s" in caught.value.next


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        main(["--run", str(DATA / "cpu-stand-in"), "--output", str(tmp_path / "file")])


def test_a_full_disk_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "report.zh.md"
    old.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        main(["--run", str(DATA / "cpu-stand-in"), "--output", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["report.zh.md"]
    assert old.read_text() == "old"


def with_record(case: str, check: str, **changes: Any) -> Evidence:
    evidence = read_evidence(DATA / case)
    return replace(evidence, records={**evidence.records, check: replace(evidence.records[check], **changes)})


def test_a_check_without_a_section_shows_its_figures() -> None:
    data = {"conv": {"rel_l2": 1.1e-4}, "switches": [{"name": "conv"}]}
    document = render(with_record("cpu-stand-in", "hf32", status=Status.PASS, data=data), "en")
    assert "### `hf32`" in document
    assert "| `conv.rel_l2` | 0.00011 |" in document
    assert "| `switches (n)` | 1 |" in document


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "The audit found nothing wrong."),
        ({"status": Status.ERROR, "reason": "killed"}, None),
        ({"status": Status.SKIP, "reason": "not here"}, None),
        ({"data": {}}, None),
        ({"emulated": True}, "no host of one was audited"),
    ],
)
def test_only_an_audit_that_ran_found_nothing(changes: dict[str, Any], said: str | None) -> None:
    document = render(with_record("cpu-stand-in", "machine", **changes), "en")
    section = document[document.index("## Audit of the host") : document.index("## Checks")]
    assert ("nothing wrong" in section) == (said is not None)
    assert said is None or said in section


@pytest.mark.parametrize("language", LANGUAGES)
def test_documents_show_what_was_said_and_what_was_understood(language: Language) -> None:
    evidence = read_evidence(DATA / "npu-failed")
    document = render(evidence, language)
    asked, none, empty = ("转写", "（无）", "（空）") if language == "zh" else ("transcribe", "(none)", "(empty)")
    for row in evidence.records["speech"].data["transcripts"]:
        task = f"→ {row['target']}" if row["target"] else asked
        heard = none if row["hypothesis"] is None else cell(row["hypothesis"]) or empty
        assert f"\n| {row['clip']} | {row['language']} | {task} | {row['reference']} | {heard} |" in document


def test_a_text_that_is_not_the_cpu_s_is_shown_beside_it() -> None:
    data = copy.deepcopy(dict(read_evidence(DATA / "cpu-stand-in").records["speech"].data))
    data["transcripts"][1]["hypothesis"] = "forty three"
    document = render(with_record("cpu-stand-in", "speech", data=data), "en")
    assert "| forty two | forty three | forty two | no: forty two |" in document


def test_a_stand_in_s_words_are_not_taken_for_the_checkpoint_s() -> None:
    assert "trained on synthetic speech" in render(read_evidence(DATA / "cpu-stand-in"), "en")
    assert "trained on synthetic speech" not in render(read_evidence(DATA / "npu-verified"), "en")


def test_words_without_a_limit_are_said_to_be_reported_only() -> None:
    assert "reported, not judged" in render(read_evidence(DATA / "npu-verified"), "en")
    judged = render(read_evidence(DATA / "cpu-stand-in"), "en")
    assert "reported, not judged" not in judged
    assert "| WER % | 2.9 [0.0, 8.6] | ≤ 6.1 | bfloat16 against float32 on 48 clips" in judged


def test_a_run_without_words_says_so() -> None:
    for case in ("emulated-substituted", "interrupted", "setup-failed"):
        assert "This run gave no words." in render(read_evidence(DATA / case), "en")


def test_a_layer_that_cannot_be_measured_is_said_to_be_so() -> None:
    data = copy.deepcopy(dict(read_evidence(DATA / "npu-failed").records["layers"].data))
    data["isolated"]["closest"][0] |= {"rel_l2": None, "worst_element": None, "excess": None}
    document = render(with_record("npu-failed", "layers", data=data), "en")
    row = next(line for line in document.splitlines() if line.startswith("| `projector.qformer") and "1.5e-07" in line)
    assert row.endswith("| another shape, NaN or infinity |")


def test_a_configuration_that_cannot_be_compared_is_said_to_be_so() -> None:
    data = copy.deepcopy(dict(read_evidence(DATA / "npu-verified").records["configurations"].data))
    data["rows"][0] |= {"value": None, "passed": False}
    document = render(with_record("npu-verified", "configurations", data=data), "en")
    assert "| not comparable | 8.0e-06 | **fail** |" in document


def test_differences_between_runs_processes_and_places_are_named() -> None:
    data = copy.deepcopy(dict(read_evidence(DATA / "npu-verified").records["repeatability"].data))
    data["process"]["first_difference"] = "encoder.layers.3"
    data["warm"]["projector"] = data["warm"]["splice"] = False
    document = render(with_record("npu-verified", "repeatability", data=data), "en")
    assert "| another process | 1 | **encoder.layers.3** |" in document
    assert "| warm, against the very first run | 1 | **projector, splice** |" in document
    assert "logits relative L2 1.9e-03 (limit 4.4e-02) |" in document


def test_substitution_and_emulation_are_told_apart_from_what_was_asked() -> None:
    document = render(read_evidence(DATA / "emulated-substituted"), "zh")
    assert "| torch-npu | 2.9.0.post1 | 2.9.0.post2 | 已替换 |" in document  # versions
    assert "| torch-npu | 2.9.0.post1 | 2.9.0.post2 | 是 |" in document  # packages apart
    assert document.count("EMULATED") > len(read_evidence(DATA / "emulated-substituted").records)
