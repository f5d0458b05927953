"""What users reported in public, kind by kind: tests/field/cases.toml says what goes in and what has to come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from env.__main__ import main
from env.audit.pairing_query import answer, judge_stack, read_stack
from env.doctor import diagnose, page
from env.language import translate
from env.npu_smi import parse
from env.stack import load_stack
from env.toml import load_toml
from tests.env import machines

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
CASES: dict[str, Any] = load_toml(HERE / "cases.toml")


def file_of(case: dict[str, Any]) -> str:
    return str(case["file"])


@pytest.mark.parametrize("case", CASES["log"], ids=file_of)
def test_a_users_log_is_told_its_causes_each_with_its_line(case: dict[str, Any]) -> None:
    diagnoses = diagnose((HERE / "logs" / f"{case['file']}.log").read_text(encoding="utf-8"))
    causes = [[each.failure.id, each.line] for each in diagnoses if not each.failure.echo]
    if not causes:  # a log that shows an echo alone is told what that means
        causes = [[diagnoses[0].failure.id, diagnoses[0].line]]
    assert causes == case["causes"]
    assert [each.failure.id for each in diagnoses][: len(causes)] == [name for name, _line in causes]
    assert all(translate(part, "zh") for part in page(diagnoses, []))


def test_every_log_has_its_row() -> None:
    assert sorted(path.stem for path in (HERE / "logs").iterdir()) == sorted(map(file_of, CASES["log"]))


@pytest.mark.parametrize("case", CASES["npu-smi"], ids=file_of)
def test_an_output_of_npu_smi_is_read_as_what_it_is(case: dict[str, Any]) -> None:
    reading = parse((DATA / "npu-smi" / f"{case['file']}.txt").read_text(encoding="utf-8"))
    assert (reading.kind.value, len(reading.chips), len(reading.processes)) == (
        case["kind"], case["chips"], case["processes"],
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES["stack"], ids=lambda case: " ".join(case["parts"]))
def test_versions_that_users_asked_for_get_the_published_answer(case: dict[str, Any]) -> None:
    stack = read_stack(case["parts"])
    assert str(answer(stack, judge_stack(stack, load_stack()))) == case["answer"]


@pytest.mark.parametrize("name", CASES["healthy"]["machines"])
def test_a_healthy_machine_has_no_error(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machines.build(name, tmp_path)
    assert main(["audit", "--root", str(tmp_path)]) == 0
    assert "ERROR" not in capsys.readouterr().out
