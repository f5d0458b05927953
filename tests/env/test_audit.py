"""The audit's command: what it prints, what it exits with, and the question that needs no machine."""

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
from env.audit.pairing_query import answer, judge_stack, read_stack, unjudged
from env.audit.suggest import suggest
from env.audit.verdict import CONFIDENCES
from env.errors import HostError, InputError, UsageError
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


# ---- would this pair? ----


@pytest.mark.parametrize(
    ("stack", "expected", "rules"),
    [
        ("torch=2.9.0 torch-npu=2.9.0.post2 cann=9.0.0 python=3.11 driver=25.5.1", "yes", []),
        # The vendor's matrix: TorchNPU 7.3.X, 26.0.X, 26.1.X and 26.2.X with CANN 8.5.X, 9.0.X, 9.1.X and 9.2.X.
        ("torch=2.9.0 torch-npu=2.9.0.post2 cann=8.5.0 python=3.11 driver=25.5.1", "yes", []),
        ("torch=2.9.0 torch-npu=2.9.0.post1 cann=9.0.0 driver=25.5.2", "yes", []),
        ("torch-npu=2.9.0.post1 cann=8.5.0", "yes", []),
        ("torch==2.9.0+cpu torch_npu=2.9.0.post1+gitdc51c2d cann=8.5.2 hdk=25.5.0 arch=x86_64", "yes", []),
        ("torch=2.9.0 torch-npu=2.9.0.post1 cann=8.5.1 arch=x86_64", "no", ["torch-cpu-build"]),
        ("torch=2.14.0 torch-npu=2.14.0 cann=9.2.0 driver=26.2.0 arch=x86_64 python=3.14", "yes", []),
        ("torch-npu=2.9.0.post1 cann=9.3.0", "not as published", ["torch-npu-cann-near"]),
        ("torch-npu=2.9.0.post1 cann=8.3.RC1", "no", ["torch-npu-cann"]),
        ("torch-npu=2.7.1 cann=8.2.RC1 driver=25.0.rc1.1", "yes", []),
        ("torch-npu=2.7.1.dev20250724 cann=8.2.RC1 driver=25.0.rc1", "yes", []),  # a second project ships the pair
        ("torch-npu=2.7.1.dev20250724 cann=8.1.RC1", "not as published", ["torch-npu-cann"]),  # and that is all
        ("torch-npu=2.7.1rc1 cann=8.2.RC1", "not as published", ["torch-npu-cann-near"]),  # only an alpha of it is
        ("torch-npu=2.9.1 cann=8.5.1", "not known", []),
        ("torch-npu=2.9.0.post7 cann=9.2.0", "not known", []),  # a beta is no release of its series
        ("torch-npu=2.9.0 cann=8.5.0 driver=25.3.rc1 python=3.10", "yes", []),
        ("torch-npu=2.9.0 cann=8.5.0 driver=26.0.rc1", "not as published", ["driver-unlisted"]),
        ("torch-npu=2.9.0 cann=8.5.0 driver=23.0.7", "no", ["driver-too-old"]),
        ("torch-npu=2.9.0 cann=8.5.0 driver=24.1.0.3", "no", ["driver-too-old"]),
        ("cann=8.5.1 driver=25.0.rc1.1", "yes", []),
        ("cann=9.1.0 driver=25.0.rc1.1", "no", ["driver-refused"]),
        ("cann=9.1.0 driver=26.0.rc1", "yes", []),
        ("cann=9.0.1 driver=26.0.rc3", "yes", []),
        ("torch-npu=2.5.1 cann=8.1.RC1 driver=23.0.7", "not as published", ["driver-too-old"]),  # medium: no error
        ("torch-npu=2.7.1 cann=8.3.RC1 driver=24.1.0.3", "not known", ["driver-evidence"]),
        ("torch-npu=2.7.1 cann=8.3.RC2 driver=24.1.rc3", "not known", []),
        ("torch-npu=2.7.1 cann=8.3.RC2 driver=20.0.0", "not known", []),
        ("driver=25.5.1", "not known", []),
        ("torch-npu=2.9.0.post1", "not known", []),
        ("torch=2.8.0 torch-npu=2.9.0.post1", "no", ["torch-npu-torch"]),
        ("torch=2.9.0 torchaudio=2.8.0", "no", ["torchaudio-torch"]),
        ("torch=2.9.0 arch=riscv64", "not known", []),
        ("torch-npu=2.9.0.post1 python=3.12", "no", ["torch-npu-python"]),
        ("torch-npu=2.9.0 python=3.12.4", "yes", []),
        ("cann=8.5.1 numpy=2.1.0 python=3.11", "no", ["numpy-cann"]),
        ("cann=9.0.0 numpy=2.1.0 python=3.11", "yes", []),  # its release note: numpy 2 is supported
        ("torch-npu=2.7.1 cann=8.2.RC1 numpy=2.0.2 python=3.11", "not as published", ["numpy-cann"]),
        ("cann=8.5.1 numpy=2.1.0 python=3.13 torch-npu=2.9.0.post2", "not known", []),  # the guide limits it below 3.13
        ("torch-npu=2.9.0.post4 cann=9.0.1", "yes", []),
        ("torch-npu=2.9.0.post1 chip=Ascend950PR", "no", ["chip-unsupported"]),
        ("torch-npu=2.9.0 chip=Ascend950PR", "no", ["chip-unsupported"]),
        ("torch-npu=2.9.0.post6 cann=9.1.0 driver=25.7.rc1.6 chip=Ascend950PR", "yes", []),
        ("torch-npu=2.9.1 chip=Ascend950PR", "not known", []),
        ("torch-npu=2.9.0.post1 chip=910B4", "yes", []),
        ("torch-npu=2.9.0.post1 cann=8.5.1 driver=25.5.1 chip=Ascend999", "not known", []),
        ("torch-npu=2.9.0.dev20251201", "not known", ["torch-npu-unknown"]),
        ("transformers=4.57.6", "yes", []),
        ("transformers=5.9.0", "yes", []),
        ("transformers=5.0.0", "not known", []),
        ("transformers=5.10.1", "no", ["transformers-logits"]),
        ("transformers=5.24.0", "no", ["transformers-logits"]),
        ("transformers=5.25.0", "not known", []),
        # pins of a whole series
        ("torch-npu=2.9.0.post2 cann=8.5.* driver=25.5.x", "yes", []),
        ("torch-npu=2.9.0.post2 cann=8.5.X driver=26.0.rc1", "not as published", ["driver-unlisted"]),
        ("torch-npu=2.9.0.post2 cann=8.3.*", "no", ["torch-npu-cann"]),
        ("torch=2.9.0.* torch-npu=2.9.0.* cann=9.1.x python=3.11.*", "yes", []),
        ("transformers=5.*", "no", ["transformers-logits"]),
        ("cann=9.1.* driver=25.0.*", "no", ["driver-refused"]),
        ("cann=9.1.0 driver=25.*", "not as published", ["driver-unlisted"]),
    ],
)
def test_would_this_pair(stack: str, expected: str, rules: list[str]) -> None:
    versions = read_stack(stack.split())
    judgements = judge_stack(versions, load_stack())
    assert [finding.id for judgement in judgements for finding in judgement.findings] == rules
    assert answer(versions, judgements) == expected


def test_yes_leaves_no_named_part_unjudged() -> None:
    """A part that no table names is said to be so, with the reason."""
    versions = read_stack(["torch-npu=2.7.1", "cann=8.3.RC2", "driver=20.0.0", "chip=Ascend999"])
    assert unjudged(versions, judge_stack(versions, load_stack())) == {
        "driver": "no driver is listed for CANN 8.3.RC2",
        "chip": "the kind of chip is not known",
    }


TORCH_NPUS = [row.torch_npu for row in load_compat().releases]
CANNS = [*load_compat().cann_releases, "7.0.1", "8.6.0", "10.0.0", "8.5.*"]
HDKS = [*load_compat().hdk_releases, "20.0.0", "23.0.7", "25.0.rc1.1", "25.6.0", "27.0.0", "25.5.*"]
# What the packages and files themselves say, not a table.
READ_FROM_FILES = {"torch-npu-torch", "torch-cpu-build", "torchaudio-torch", "driver-cann-family"}


def test_no_error_rests_on_less_than_high_confidence() -> None:
    stacks = [{"torch-npu": torch_npu, "cann": cann} for torch_npu in TORCH_NPUS for cann in CANNS]
    stacks += [{"cann": cann, "driver": driver} for cann in CANNS for driver in HDKS]
    stacks += [{"torch-npu": torch_npu, "python": f"3.{minor}"} for torch_npu in TORCH_NPUS for minor in range(8, 15)]
    stacks += [{"torch-npu": torch_npu, "chip": "Ascend950PR"} for torch_npu in TORCH_NPUS]
    stacks += [{"cann": cann, "numpy": "2.1.0", "python": "3.11"} for cann in CANNS]
    stacks += [{"transformers": version} for version in ("4.57.6", "5.8.0", "5.9.0", "5.10.1", "5.24.0")]
    cited = 0
    for stack in stacks:
        for judgement in judge_stack(stack, load_stack()):
            for finding in judgement.findings:
                if judgement.rule in READ_FROM_FILES or judgement.rule == "torch-npu-unknown":
                    continue
                most = {"[high]": "error", "[medium]": "warning", "[low]": "note"}[finding.source.rpartition(" ")[2]]
                assert finding.severity == most or (most == "error" and finding.severity == "warning"), finding
                cited += 1
    assert cited > 300


@pytest.mark.parametrize("word", ["torch", "torch=", "cuda=12.8", "vllm=0.11.0", "=2.9.0"])
def test_a_word_that_names_nothing_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError, match="NAME=VERSION"):
        read_stack([word])


def test_the_question_is_answered_without_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "--stack", "torch-npu=2.9.0.post2", "cann=8.3.RC1", "--suggest")
    assert code == HostError.exit_code
    assert "would this pair? torch-npu 2.9.0.post2, cann 8.3.RC1: no" in out
    assert "nearest pairings:" in out


def test_what_is_not_known_is_no_error_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "--stack", "cann=8.5.1", "chip=Ascend999")
    assert code == 0
    assert out.splitlines()[0].endswith(": not known")
    assert "not judged: chip Ascend999 (the kind of chip is not known)" in out


def test_the_answer_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    _code, out = run(capsys, "--stack", "cann=8.5.1", "driver=26.0.rc1", "--json", "--suggest")
    value = json.loads(out)
    assert value["answer"] == "not as published"
    assert value["unjudged"] == {}
    assert set(value) == {"schema", "stack", "answer", "unjudged", "findings", "passed", "skipped", "suggestions"}
    keys = {"stack", "changes", "doubts", "confidence", "source", "published"}
    assert set(value["suggestions"][0]) == keys


def test_the_nearest_pairing_changes_the_least() -> None:
    stack = read_stack(["torch=2.9.0", "torch-npu=2.9.0.post2", "cann=8.3.RC1", "python=3.11", "driver=25.5.1"])
    first, *_ = suggest(stack, load_stack())
    assert first.stack["torch"] == "2.9.0"
    assert first.changes == ("cann",)
    assert first.stack["cann"] == "9.0.0"  # what this torch-npu was released with


def test_a_suggestion_keeps_what_the_vendor_allows() -> None:
    stack = read_stack(["torch=2.7.1", "torch-npu=2.7.1rc1", "cann=8.2.RC1", "driver=25.2.0"])
    first = suggest(stack, load_stack())[0]
    assert (first.changes, first.stack["torch-npu"]) == (("torch-npu",), "2.7.1")
    assert first.source.startswith("hiascend, Ascend Extension for PyTorch 7.2.0")


def test_a_suggestion_shows_the_evidence_of_what_it_changes() -> None:
    stack = read_stack(["torch=2.9.0", "torch-npu=2.9.0.post6", "cann=9.1.0", "driver=24.1.0"])
    first = suggest(stack, load_stack())[0]
    assert (first.changes, first.stack["driver"], first.confidence) == (("driver",), "26.1.1", "high")
    assert first.source.startswith("CANN 9.1.1 and 9.1.0 release notes")
    stack = read_stack(["torch-npu=2.9.0.post1", "cann=8.5.1", "torch=2.9.0", "transformers=5.24.0"])
    first = suggest(stack, load_stack())[0]
    assert (first.changes, first.stack["transformers"]) == (("transformers",), "4.57.6")
    assert first.source.startswith("logits of one checkpoint")


def test_a_stack_that_pairs_is_its_own_nearest() -> None:
    stack = read_stack(["torch=2.9.0", "torch-npu=2.9.0.post2", "cann=9.0.0", "python=3.11", "driver=25.5.1"])
    assert suggest(stack, load_stack())[0].changes == ()


@pytest.mark.parametrize(
    "stack",
    [
        "torch-npu=2.9.0.post1 cann=8.5.1 driver=23.0.7 arch=x86_64 torch=2.9.0 numpy=2.1.0 python=3.13",
        "cann=8.2.RC1",
        "driver=24.1.rc2",
        "python=3.9 torch=2.9.0",
        "torch=1.11.0 cann=6.3.RC2",
        "torch-npu=2.9.0.* cann=8.5.x driver=26.0.*",
        "torch-npu=2.9.0.post2 cann=8.3.* driver=24.1.*",
    ],
)
def test_no_suggestion_contradicts_a_rule(stack: str) -> None:
    versions = read_stack(stack.split())
    suggestions = suggest(versions, load_stack())
    assert suggestions
    for each in suggestions:
        assert answer(each.stack, judge_stack(each.stack, load_stack())) != "no"
        assert set(each.changes) == {name for name in versions if each.stack[name] != versions[name]}
        replaced = {name: each.stack[name] for name in each.stack if each.stack[name] != versions.get(name)}
        assert not any(is_series(version) for version in replaced.values())  # what can be installed


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
