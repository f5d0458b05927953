"""Would this pair? The question that needs no machine: its answers, its evidence and what it suggests."""

from __future__ import annotations

import json

import pytest

from env.audit.command import main
from env.audit.compat import load_compat
from env.audit.pairing_query import answer, judge_stack, read_stack, unjudged
from env.audit.suggest import suggest
from env.errors import HostError, UsageError
from env.stack import load_stack
from env.versions import is_series


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(argv)
    return code, capsys.readouterr().out


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
