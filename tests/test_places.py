"""Places in which the bundle is run: a full disk, a checkout that cannot be written, a machine without this or that.

Each has a clear ending: it works, or one message with its exit code. Never a traceback.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from env import atomic
from env.errors import StorageError
from env.runner import run
from env.stack import ROOT
from verify.run import engine, provenance
from verify.run.context import Context
from verify.run.plan import Check
from verify.run.records import Status, read_evidence

MOUNTED = 'mount -t tmpfs -o size=64k none "$1" && mount -t tmpfs -o size=3m none "$2" && shift 2 && exec "$@"'


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every writer of the project ended with on a disk that is really full, from tests/full_disk.py."""
    folders = [str(tmp_path_factory.mktemp(name)) for name in ("full", "small", "spare")]
    program = [sys.executable, "-m", "tests.full_disk", *folders]
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", MOUNTED, "sh", *folders[:2], *program],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    ended: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return ended


WRITERS = (
    "record", "run", "setup's record", "worker's log", "transcripts", "transcripts, later",
    "transcripts, at the end", "json of a program", "documents", "capture", "junit of the audit", "reference values",
    "reference values after the work", "environment by uv", "environment by pip",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_with_the_folder_to_free(full_disk: dict[str, Any], writer: str) -> None:
    ended = full_disk["ended"][writer]
    assert (ended["kind"], ended["code"]) == ("StorageError", 14), ended["said"]
    assert "No space left on device" in ended["said"]
    if writer == "reference values after the work":
        assert "next: mv " in ended["said"]
    else:
        assert ended["folder"]  # what df is to be asked about is there


@pytest.mark.slow
def test_every_writer_was_tried_and_none_left_half_a_file(full_disk: dict[str, Any]) -> None:
    assert set(full_disk["ended"]) == set(WRITERS)
    assert full_disk["left"] == []


def test_a_disk_that_is_full_at_the_flush_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that allocate late (ext4, XFS, NFS) say it at fsync."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "old.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        atomic.write_json(tmp_path / "old.json", {"new": 1})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.json", "{}")]


@pytest.fixture(scope="module")
def not_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout that the user cannot write: root's own, mounted read-only, in an image."""
    folder = tmp_path_factory.mktemp("checkout") / "bundle"
    folder.mkdir()
    for name in ("env", "model", "verify", "locale", "requirements", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copytree(
        ROOT / "tests" / "verify", folder / "tests" / "verify", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "CHANGELOG.md", folder)
    (folder / "tests" / "__init__.py").touch()
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


def as_a_user(*command: str) -> list[str]:
    """A command without root's power to write what it may not."""
    if os.geteuid() != 0:
        return list(command)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root writes everywhere, and there is no setpriv (util-linux)")
    return [setpriv, "--inh-caps=-all", "--bounding-set=-all", *command]


def small_run(checkout: Path, results: Path, *, environ: dict[str, str] | None = None) -> tuple[int, str]:
    words = ["passes,skips", "--run", "r1", "--results", str(results)]
    done = subprocess.run(
        as_a_user(sys.executable, "-m", "tests.verify.small_run", *words),
        cwd=checkout, env={**os.environ, **(environ or {})}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_checkout_that_cannot_be_written_serves_with_results_elsewhere(not_ours: Path, tmp_path: Path) -> None:
    code, errors = small_run(not_ours, tmp_path)
    assert code == 31, errors  # one skipped
    assert read_evidence(tmp_path / "r1").status("passes") is Status.PASS


def test_results_in_a_checkout_that_cannot_be_written_are_one_message(not_ours: Path) -> None:
    code, errors = small_run(not_ours, not_ours / "results")
    assert code == 14
    assert errors.startswith("error: cannot write ")


def test_a_machine_without_git_and_compilers_verifies(tmp_path: Path) -> None:
    code, errors = small_run(ROOT, tmp_path, environ={"PATH": str(tmp_path)})
    assert code == 31, errors
    assert run(["git"], environ={"PATH": str(tmp_path)}).returncode == 127


def test_without_git_a_run_says_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    project = provenance.project()
    assert project["commit"] is None
    assert project["version"]


def test_a_clock_that_is_set_back_makes_no_time_negative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(23, 0, -1))

    def backwards() -> str:
        return datetime(2026, 1, 1, next(hours), tzinfo=timezone.utc).isoformat(timespec="seconds")

    monkeypatch.setattr(engine, "now", backwards)
    context = Context("cpu", "synthetic:tiny", "auto", 42, 1, tmp_path)
    checks = [Check(name, 1, 60, function=f"tests.verify.bad_checks:{name}") for name in ("passes", "fails")]
    first, second = engine.run_checks(checks, context, Path(sys.executable), str)
    assert first.started > second.started
    assert min(first.seconds, second.seconds) >= 0
