"""What a run comes to: every combination of evidence that changes the word, the line or the exit code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from env.language import LANGUAGES, translate
from tests.verify.verdict_cases import CASES, ESSENTIAL_2, LEVEL_2, changed, healthy, with_record, with_run, without
from verify.report.render import render
from verify.run.records import Evidence, Status
from verify.run.verdict import TERMS, Caveat, Word, judge


@pytest.mark.parametrize(
    ("device", "ascend_host", "exit_code"), [("auto", True, 31), ("auto", False, 0), ("cpu", True, 0)]
)
def test_auto_that_passed_by_an_npu_is_no_verification(device: str, ascend_host: bool, exit_code: int) -> None:
    evidence = with_record("machine", data={"ascend_host": ascend_host})(healthy("cpu"))
    verdict = judge(with_run(device=device)(evidence))
    assert verdict.exit_code == exit_code
    assert ("an NPU is in this machine, cpu used" in verdict.line()) is (exit_code != 0)


@pytest.mark.parametrize("case", CASES)
def test_verdict_line_and_exit_code(case: str) -> None:
    _, line, exit_code = CASES[case]
    verdict = judge(changed(case))
    assert verdict.exit_code == exit_code
    if line in {word.value for word in Word}:
        assert verdict.word.value == line
    else:
        assert verdict.line() == line


def test_cpu_has_no_index() -> None:
    assert judge(healthy("cpu")).line() == "verified · cpu · bfloat16 · level 2 · 19 pass"


def test_chinese_line_says_the_same() -> None:
    evidence = with_record("benchmark", Status.SKIP, "0 rounds")(healthy("cpu", kind="stand-in"))
    evidence = with_run(device="auto")(evidence)
    expected = "验证通过（替代权重） · cpu（auto） · bfloat16 · 级别 2 · 18 通过，1 跳过（benchmark: 0 rounds）"
    assert judge(evidence).line("zh") == expected


def test_every_word_has_a_chinese_one() -> None:
    terms = {word.value for enum in (Word, Caveat, Status) for word in enum}
    assert terms == set(TERMS)
    assert [term for term in terms if translate(term, "zh") == term] == []


@pytest.mark.parametrize("status", [Status.FAIL, Status.ERROR, Status.NOT_RUN])
@pytest.mark.parametrize("check", LEVEL_2)
def test_no_check_may_miss_from_a_verified_run(check: str, status: Status) -> None:
    change = without(check) if status is Status.NOT_RUN else with_record(check, status, "why")
    verdict = judge(change(healthy()))
    assert verdict.word is not Word.VERIFIED
    assert check in verdict.line()


@pytest.mark.parametrize("check", ESSENTIAL_2)
def test_no_essential_check_may_be_skipped_on_a_checkpoint(check: str) -> None:
    verdict = judge(with_record(check, Status.SKIP, "why")(healthy()))
    assert verdict.word is Word.INCOMPLETE
    assert f"essential check skipped: {check}" in verdict.line()


def test_a_reason_stays_on_the_line_and_is_cut() -> None:
    evidence = with_record("parity", Status.FAIL, "first\x1b[31m " + "x" * 500 + "\nwhy: second")(healthy())
    line = judge(evidence).line()
    assert "\n" not in line
    assert "\x1b" not in line
    assert "first\\x1b[31m xxx" in line
    assert "second" not in line
    assert len(line) < 300


@pytest.mark.parametrize("case", CASES)
def test_every_caveat_is_explained_in_both_documents(case: str) -> None:
    evidence = changed(case)
    verdict = judge(evidence)
    for language in LANGUAGES:
        document = render(evidence, language)
        assert verdict.headline(language) in document
        for note in verdict.notes:
            assert f"- **{translate(note.caveat.value, language)}**" in document


def test_every_caveat_has_a_case() -> None:
    assert {note.caveat for case in CASES for note in judge(changed(case)).notes} == set(Caveat)


def split_run(place: str = "npu:0+npu:1", **others: str) -> Evidence:
    """A run whose model lies over two cards; `others` are the places that single checks name."""
    evidence = with_run(device_map="auto")(healthy())
    device = {"kind": "npu", "index": 0, "label": "npu:0", "others": [{"label": "npu:1"}]}
    records = dict(evidence.records)
    for name, one in records.items():
        if "device" in one.signature:
            at = others.get(name, place)
            signature = {
                **one.signature,
                "device": at,
                "device_map": {"encoder": at.split("+")[-1]},
                "weights_name": "x",
            }
            records[name] = replace(one, signature=signature)
    records["device"] = replace(records["device"], data=device)
    return replace(evidence, records=records)


def test_a_split_model_is_named_by_all_its_cards() -> None:
    assert judge(split_run()).line() == "verified · npu:0+npu:1 · bfloat16 · level 2 · 19 pass"
    assert " · npu:0+npu:1+cpu · " in judge(split_run("npu:0+npu:1+cpu")).line()
    auto = judge(with_run(device="auto")(split_run()))
    assert auto.line() == "verified · npu:0+npu:1 (auto) · bfloat16 · level 2 · 19 pass"


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (split_run(parity="npu:0"), "parity on npu:0"),
        (split_run(parity="npu:0+cpu"), "parity on npu:0+cpu"),
        (with_run(device="npu:1")(split_run()), "npu:1 asked, npu:0+npu:1 used"),
        (with_run(device_map=None)(split_run()), "on npu:0+npu:1"),  # nobody asked for it
        (split_run("npu:0+npu:5"), "definition on npu:0+npu:5"),  # a card that the device check never tried
    ],
)
def test_a_split_model_elsewhere_is_no_verification(evidence: Evidence, told: str) -> None:
    verdict = judge(evidence)
    assert verdict.word is Word.INCOMPLETE
    assert told in verdict.line() or told in " ".join(translate(note.detail, "en") for note in verdict.notes)
