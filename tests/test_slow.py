"""A test that takes over five seconds fails unless it is marked slow, or the processor may be a slower one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from env.stack import ROOT
from tests import conftest, slow


@pytest.mark.parametrize(
    ("marker", "seconds", "passed", "listed"),
    [
        ("", 10.1, False, True),
        ("@pytest.mark.slow", 10.1, True, False),
        ("", 5.1, True, True),
        ("@pytest.mark.slow", 5.1, True, False),
        ("", 4.9, True, False),
    ],
)
def test_what_takes_over_five_seconds_is_marked_slow(
    tmp_path: Path, marker: str, seconds: float, passed: bool, listed: bool
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.slow import pytest_runtest_call, pytest_terminal_summary\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers = slow\npythonpath = {ROOT}\n")
    (tmp_path / "test_it.py").write_text(
        "import itertools, pytest\nfrom tests import slow\n"
        f"clock = itertools.count(0.0, {seconds})\n"
        "slow.processor_seconds = lambda: next(clock)\n"
        f"{marker}\ndef test_it():\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, check=False, stdout=subprocess.PIPE, text=True)
    assert done.returncode == (0 if passed else 1)
    assert ("mark it slow" in done.stdout) == listed


def test_every_test_here_is_timed() -> None:
    assert conftest.pytest_runtest_call is slow.pytest_runtest_call
    assert conftest.pytest_terminal_summary is slow.pytest_terminal_summary
