"""The same verification on several stacks, side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from env.errors import RecordError, VerificationFailedError
from env.stack import ROOT
from verify.report import stacks
from verify.run.records import read_evidence

GOLDEN = ROOT / "tests" / "data" / "report" / "cpu-stand-in"
BITS = {"encoder": "0011", "end_to_end": "2233"}


def run(folder: Path, stack: str, version: str, bits: dict[str, str] = BITS) -> Path:
    """A run like the golden one, on a stack."""
    shutil.copytree(GOLDEN, folder)
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    setup["data"] |= {"stack": stack, "packages": setup["data"]["packages"] | {"transformers": version}}
    (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")
    path = folder / "records" / "definition.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["data"]["bundled"]["bits"] = bits
    path.write_text(json.dumps(record), encoding="utf-8")
    return folder


def shown(capsys: pytest.CaptureFixture[str], *folders: Path) -> tuple[int, str]:
    return stacks.main([str(folder) for folder in folders]), capsys.readouterr().out


def test_two_stacks_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _code, text = shown(capsys, run(tmp_path / "a", "", "4.57.6"), run(tmp_path / "b", "t5", "5.9.0"))
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert text.splitlines()[0].split() == ["declared", "t5"]
    assert lines["transformers"] == ["4.57.6", "5.9.0"]
    assert lines["definition"] == ["pass", "pass"]
    assert "torch" not in lines  # in which they do not differ
    assert "texts of the bundled clips: all" in text
    assert "bit for bit: all 2 of t5 are those of declared" in text


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        ({**BITS, "end_to_end": "ffff"}, "bit for bit: 1 of 2 differ between declared and t5: end_to_end"),
        ({}, "bit for bit: declared and t5 have none in common"),
    ],
    ids=["another", "none"],
)
def test_bits_that_differ_are_named_and_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bits: dict[str, str], sentence: str
) -> None:
    code, text = shown(capsys, run(tmp_path / "a", "", "4.57.6"), run(tmp_path / "b", "t5", "5.9.0", bits))
    assert (code, sentence in text) == (VerificationFailedError.exit_code, True)


def test_a_text_that_differs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared, t5 = (
        read_evidence(run(tmp_path / f"run-{name}", name, version))
        for name, version in (("", "4.57.6"), ("t5", "5.9.0"))
    )
    monkeypatch.setattr(stacks, "texts", lambda run: {"a.flac": stacks.stack_of(run), "b.flac": "forty two"})
    lines, same = stacks.differences(declared, t5)
    assert not same
    assert "texts of the bundled clips: 1 of 2 differ between declared and t5: a.flac" in lines


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run in"):
        stacks.main([str(tmp_path / "none")])


def test_no_name_breaks_a_line_or_makes_a_table_of_megabytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = run(tmp_path / "b", "t5\nerror: fake", "x" * 1_000_000)
    _code, text = shown(capsys, run(tmp_path / "a", "", "4.57.6"), hostile)
    assert "\nerror: fake" not in text
    assert len(text) < 20_000
