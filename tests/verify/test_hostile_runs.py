"""Folders of runs as somebody hostile leaves them: pipes, links that lead out, records without number or end."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from env.errors import RecordError
from tests.verify.report_runs import DATA
from verify.report import __main__ as report
from verify.run.records import MOST_RECORDS, read_evidence
from verify.run.verdict import Word, judge


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "npu-verified", tmp_path / "run"))


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link_out(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/passwd")


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(20 << 30)


def deep(path: Path) -> None:
    path.write_text("[" * 200_000, encoding="utf-8")


@pytest.mark.parametrize("name", ["records/shapes.json", "records/new.json", "run.json", "setup.json"])
@pytest.mark.parametrize("make", [pipe, link_out, endless, sparse, deep])
def test_such_a_file_is_damaged_and_the_run_not_verified(make: Callable[[Path], None], name: str, run: Path) -> None:
    make(run / name)
    evidence = read_evidence(run)
    assert Path(name).name in evidence.damaged
    assert judge(evidence).word is not Word.VERIFIED
    assert report.main(["--run", str(run)]) == 0
    assert "root:" not in (run / "report.en.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [pipe, endless, sparse, deep])
def test_such_a_campaign_is_refused(make: Callable[[Path], None], run: Path, tmp_path: Path) -> None:
    make(tmp_path / "faults.json")
    with pytest.raises(RecordError, match="is not a fault campaign"):
        report.main(["--run", str(run), "--faults", str(tmp_path / "faults.json")])
    make(run / "faults.json")
    assert report.main(["--run", str(run)]) == 0


def keys(run: Path, changed: dict[str, Any]) -> None:
    changed["data"] |= {f"k{number}": number for number in range(300_000)}
    (run / "records" / "shapes.json").write_text(json.dumps(changed), encoding="utf-8")


def records(run: Path, changed: dict[str, Any]) -> None:
    for number in range(3000):
        text = json.dumps(changed | {"check": f"new{number}"})
        (run / "records" / f"new{number}.json").write_text(text, encoding="utf-8")


def planned(run: Path, changed: dict[str, Any]) -> None:
    whole = json.loads((run / "run.json").read_text(encoding="utf-8"))
    whole["planned"] = [f"n{number}" for number in range(200_000)]
    (run / "run.json").write_text(json.dumps(whole), encoding="utf-8")


@pytest.mark.parametrize("make", [keys, records, planned])
def test_a_report_on_hundreds_of_thousands_of_names_ends(
    make: Callable[[Path, dict[str, Any]], None], run: Path
) -> None:
    make(run, json.loads((run / "records" / "shapes.json").read_text(encoding="utf-8")))
    started = time.process_time()
    evidence = read_evidence(run)
    assert judge(evidence).word is not Word.VERIFIED
    assert len(evidence.records) <= MOST_RECORDS
    if make is not records:  # 256 records are a page each: 3 s
        assert report.main(["--run", str(run)]) == 0
    assert time.process_time() - started < 15.0  # 1 s here; what is quadratic takes minutes
