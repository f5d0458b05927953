"""A test that takes over five seconds fails unless it is marked slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from env.stack import ROOT
from tests import conftest, slow


@pytest.mark.parametrize(
    ("marker", "seconds", "passed"), [("", 5.1, False), ("@pytest.mark.slow", 5.1, True), ("", 4.9, True)]
)
def test_what_takes_over_five_seconds_is_marked_slow(tmp_path: Path, marker: str, seconds: float, passed: bool) -> None:
    (tmp_path / "conftest.py").write_text("from tests.slow import pytest_runtest_call\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers = slow\npythonpath = {ROOT}\n")
    (tmp_path / "test_it.py").write_text(
        "import itertools, pytest\nfrom tests import slow\n"
        f"clock = itertools.count(0.0, {seconds})\n"
        "slow.processor_seconds = lambda: next(clock)\n"
        f"{marker}\ndef test_it():\n    pass\n"
    )
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, check=False)
    assert done.returncode == (0 if passed else 1)


def test_every_test_here_is_timed() -> None:
    assert conftest.pytest_runtest_call is slow.pytest_runtest_call
