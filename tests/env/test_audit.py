"""The audit's command: what it prints, what it exits with, and the tables that it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from env.audit import RULES, texts
from env.audit.chips import visible_devices
from env.audit.command import main
from env.audit.compat import Row, load_compat
from env.audit.verdict import CONFIDENCES
from env.errors import HostError, InputError
from env.stack import ROOT, load_stack
from env.versions import is_series, parse, stem
from tests.env import machines
from tests.env.chinese import read_by_chinese

FIELDS = {"id", "severity", "what", "why", "show", "fix", "source"}


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(argv)
    return code, capsys.readouterr().out


def test_a_machine_with_errors_exits_with_the_hosts_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build("driver-too-old", tmp_path)
    code, out = run(capsys, "--root", str(tmp_path))
    assert code == HostError.exit_code
    assert "ERROR driver (HDK) 24.1.rc2.2 is older" in out
    for label in ("why:", "show:", "fix:", "source:"):
        assert label in out
    assert "1 error, 0 warnings, 0 notes" in out


def test_a_healthy_machine_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build("healthy-910b4", tmp_path)
    code, out = run(capsys, "--root", str(tmp_path))
    assert code == 0
    assert "2.9.0.post1+gitee7ba04" in out  # judged by its public part, shown whole


def test_a_machine_without_an_npu_gets_a_calm_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build("laptop", tmp_path)
    code, out = run(capsys, "--root", str(tmp_path))
    assert code == 0
    assert "is not an Ascend host" in out
    assert len(out.splitlines()) < 12


def test_asking_for_an_npu_ends_the_calm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build("laptop", tmp_path)
    code, out = run(capsys, "--root", str(tmp_path), "--device", "npu:0")
    assert code == HostError.exit_code
    assert "no Ascend driver" in out


def test_json_holds_every_finding_and_what_was_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build("numpy-2", tmp_path)
    code, out = run(capsys, "--root", str(tmp_path), "--json", "--suggest")
    value = json.loads(out)
    assert code == HostError.exit_code
    assert value["schema"] == 1
    assert [set(finding) for finding in value["findings"]] == [FIELDS] * 3
    assert value["ascend_host"] is True
    assert value["host"]["driver"]["release"] == "25.5.1"
    judged = {finding["id"] for finding in value["findings"]} | set(value["passed"]) | set(value["skipped"])
    assert judged == set(texts())
    assert value["suggestions"][0]["changes"] == ["numpy"]


def test_junit_has_a_case_for_each_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build("hbm-in-use", tmp_path / "machine")
    root, xml = str(tmp_path / "machine"), tmp_path / "audit.xml"
    run(capsys, "--root", root, "--junit", str(xml), "--checkpoint-bytes", "5000000000")
    suite = ElementTree.parse(xml).getroot()
    cases = {case.attrib["name"]: case for case in suite}
    assert set(cases) == set(texts())
    assert suite.attrib["tests"] == str(len(cases))
    failed = [name for name, case in cases.items() if case.find("failure") is not None]
    assert failed == ["hbm-too-small"]
    assert suite.attrib["failures"] == "1"
    skipped = cases["visible-devices"].find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "ASCEND_RT_VISIBLE_DEVICES is not set"
    output = cases["hbm-in-use"].find("system-out")
    assert output is not None
    assert output.text is not None
    assert "301188 python3.11" in output.text
    assert cases["cann-arch"].find("*") is None


def test_a_root_that_is_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        main(["--root", str(tmp_path / "absent")])


# ---- the tables ----


def test_every_rule_has_its_text_and_every_text_its_rule() -> None:
    assert set(texts()) == set(RULES)


@pytest.mark.parametrize("name", sorted(texts()))
def test_a_rule_says_what_why_show_fix_and_source(name: str) -> None:
    text = texts()[name]
    assert all((text.what, text.why, text.show, text.fix, text.source))
    assert text.severity in ("error", "warning", "note")
    assert text.scope in ("any", "ascend", "pairing")
    assert text.stops in (None, "host", "python", "storage")
    assert text.stops is None or text.severity == "error"


def test_the_tables_agree_with_each_other() -> None:
    compat = load_compat()
    releases = {row.torch_npu for row in compat.releases}
    assert len(releases) == len(compat.releases)
    assert {row.torch_npu for row in compat.pairs} <= releases
    rows: list[Row] = [*compat.releases, *compat.pairs, *compat.matrix, *compat.drivers, *compat.chip_since]
    rows += [*compat.transformers, *compat.needs]
    assert {row.confidence for row in rows} <= set(CONFIDENCES)
    assert all(row.source and row.date for row in rows)
    named = [version for row in compat.drivers for version in (row.cann, *row.hdk, *row.no)]
    named += [version for row in compat.matrix for version in (*row.line, *row.cann, *row.no)]
    assert all(parse(stem(version)).known for version in named)
    assert all(row.torch_npu.startswith(row.torch) for row in compat.releases)
    assert {row.chip for row in compat.chip_since} <= {row.name for row in compat.chips}


def test_every_release_of_a_line_pairs_with_the_cann_that_it_was_released_with() -> None:
    compat = load_compat()
    for row in compat.pairs:
        if not is_series(row.cann):
            assert compat.cann_verdict(row.torch_npu, row.cann).word == "yes", row


def test_the_declared_stack_is_in_the_table() -> None:
    declared = load_stack().packages
    release = load_compat().release(declared["torch-npu"])
    assert release is not None
    assert release.torch == declared["torch"]
    assert set(load_stack().pythons) <= set(release.pythons)
    assert any(row.cann.startswith(load_stack().cann_series) for row in load_compat().canns(release.torch_npu))


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [
        ("0,1", 2, [0, 1]),
        ("1,0", 2, []),
        ("0,0", 2, []),
        ("", 2, []),
        ("all", 2, []),
        ("0,1,all", 4, [0, 1]),
        ("0, 1", 4, [0]),  # the blank ends it
        ("-1", 4, []),
        ("0,1,7,9", 8, [0, 1, 7]),
        ("8", 8, []),
        ("1,2,", 4, [1, 2]),
    ],
)
def test_visible_devices_as_torch_npu_reads_them(value: str, count: int, expected: list[int]) -> None:
    assert visible_devices(value, count) == expected


# ---- the start ----


@pytest.mark.parametrize("command", ["probe", "audit", "capture"])
def test_nothing_heavy_is_imported(command: str) -> None:
    code = "import sys; import env.__main__ as m\ntry: m.main([sys.argv[1], '--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code, command], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    assert not loaded & {"torch", "numpy", "rich", "jinja2", "msgspec", "transformers"}


# ---- for a Chinese reader ----

CHINESE = {
    "audit of {machine}: {stack}": "环境检查（{machine}）：{stack}",
    "ERROR {what}  [{rule}]": "错误  {what}  [{rule}]",
    "      why:    {why}": "      原因：{why}",
    "      show:   {show}": "      查看：{show}",
    "      fix:    {fix}": "      修复：{fix}",
    "      source: {source}": "      来源：{source}",
    "{chip}: health {health}": "{chip}：健康状态为 {health}",
    "NPU {npu} chip {chip} ({name})": "NPU {npu} 芯片 {chip}（{name}）",
    texts()["chip-unhealthy"].why: "故障芯片的结果不可信",
    texts()["chip-unhealthy"].fix: "换用其他芯片",
}


def test_a_chinese_reader_gets_the_page_in_chinese(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.build("unhealthy", tmp_path)
    read_by_chinese(monkeypatch, CHINESE)
    code, out = run(capsys, "--root", str(tmp_path))
    assert code == HostError.exit_code
    head, blank, finding, why, show, fix, source, *_ = out.splitlines()
    assert head.startswith(f"环境检查（{tmp_path}）：torch 2.9.0, ")
    assert (blank, finding) == ("", "错误  NPU 0 芯片 0（910B4）：健康状态为 Alarm  [chip-unhealthy]")
    assert (why, show, fix) == (
        "      原因：故障芯片的结果不可信",
        "      查看：npu-smi info -t health -i 0 -c 0",
        "      修复：换用其他芯片",
    )
    assert source == "      来源：hiascend npusmi_028"


def test_programs_read_english_whatever_the_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.build("unhealthy", tmp_path / "machine")
    read_by_chinese(monkeypatch, CHINESE)
    xml = tmp_path / "audit.xml"
    _code, out = run(capsys, "--root", str(tmp_path / "machine"), "--json", "--junit", str(xml))
    finding = json.loads(out)["findings"][0]
    assert finding["what"] == "NPU 0 chip 0 (910B4): health Alarm"
    assert finding["what"] in xml.read_text(encoding="utf-8")
    assert "芯片" not in out + xml.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", machines.names())
def test_no_line_of_a_page_is_put_together_past_the_catalogue(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every message between 「 and 」, nothing stands outside of them."""
    machines.build(name, tmp_path)
    read_by_chinese(monkeypatch, Quoting())
    _code, out = run(capsys, "--root", str(tmp_path), "--checkpoint-bytes", "4626414264")
    assert [line for line in out.splitlines() if line and not (line.startswith("「") and line.endswith("」"))] == []


class Quoting(dict[str, str]):
    """A catalogue that has every message, quoted."""

    def get(self, text: str, default: object = None) -> str:
        return f"「{text}」"
