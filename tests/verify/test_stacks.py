"""The same verification on several stacks, side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from env.errors import RecordError, VerificationFailedError
from env.stack import ROOT
from verify.report import stacks

GOLDEN = ROOT / "tests" / "data" / "report" / "cpu-stand-in"
BITS = {"encoder": "0011", "end_to_end": "2233"}


def run(folder: Path, stack: str, version: str, *, bits: dict[str, str] = BITS, texts: bool = True) -> Path:
    """A run like the golden one, on a stack."""
    shutil.copytree(GOLDEN, folder)
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    setup["data"] |= {"stack": stack, "packages": setup["data"]["packages"] | {"transformers": version}}
    (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")
    for name in ("definition", "speech"):
        path = folder / "records" / f"{name}.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        if name == "definition":
            record["data"]["bundled"]["bits"] = bits
        elif not texts:
            record["data"]["transcripts"][0]["hypothesis"] = "another text"
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
    ("changed", "sentence"),
    [
        ({"bits": {**BITS, "end_to_end": "ffff"}}, "bit for bit: 1 of 2 differ between declared and t5: end_to_end"),
        ({"texts": False}, "texts of the bundled clips: 1 of"),
        ({"bits": {}}, "bit for bit: declared and t5 have none in common"),
    ],
    ids=["bits", "a text", "nothing"],
)
def test_what_differs_is_named_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, dict[str, str]], sentence: str
) -> None:
    other = run(tmp_path / "b", "t5", "5.9.0", **changed)  # type: ignore[arg-type]
    code, text = shown(capsys, run(tmp_path / "a", "", "4.57.6"), other)
    assert (code, sentence in text) == (VerificationFailedError.exit_code, True)


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run in"):
        stacks.main([str(tmp_path / "none")])
