"""The packages check: the running environment against the declared stack and its lock, pin by pin."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from env.npu_emulator import VARIABLE
from env.stack import load_stack
from verify.checks import packages as module
from verify.checks.packages import check, fits
from verify.run.context import Context
from verify.run.records import Status
from verify.run.verification import Verification

STACK = load_stack().packages
AS_DECLARED = {name: "1.26.4" if name == "numpy" else version for name, version in STACK.items()}
OTHER = "2.9.0.post2"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """An environment of the npu profile, its stamp under a prefix of its own."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(module, "missing_from", lambda lock: [])
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    return Context("npu:0", "synthetic:tiny", "auto", 42, 1, tmp_path)


def stamp(context: Context, *, substituted: bool = False, lock: str = "npu-aarch64-py310.txt") -> None:
    apart = [{"name": "torch-npu", "substituted": substituted}]
    value = {"profile": "npu", "lock": lock, "apart": apart}
    (context.run_folder / "ready.json").write_text(json.dumps(value), encoding="utf-8")


def have(monkeypatch: pytest.MonkeyPatch, **found: str | None) -> None:
    versions = AS_DECLARED | {name.replace("_", "-"): version for name, version in found.items()}
    monkeypatch.setattr(module, "installed", versions.get)


def test_a_declared_environment_passes_whatever_its_build_tag(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp(context)
    have(monkeypatch, torch_npu=f"{STACK['torch-npu']}+gitee7ba04")
    outcome = check(Verification(context))
    assert (outcome.status, outcome.reason) == (
        Status.PASS,
        "as declared, and as requirements/locks/npu-aarch64-py310.txt pins it",
    )
    assert all(row["ok"] for row in outcome.data["rows"])


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"torch": "2.8.0"}, f"torch {STACK['torch']} asked, 2.8.0 found"),
        ({"numpy": "2.1.0"}, f"numpy {STACK['numpy']} asked, 2.1.0 found"),
        ({"torch_npu": OTHER}, f"torch-npu {STACK['torch-npu']} asked, {OTHER} found"),
        ({"torch_npu": None}, f"torch-npu {STACK['torch-npu']} asked, nothing found"),
    ],
)
def test_another_version_fails_by_name(
    context: Context, monkeypatch: pytest.MonkeyPatch, found: dict[str, str | None], reason: str
) -> None:
    stamp(context)
    have(monkeypatch, **found)
    outcome = check(Verification(context))
    assert (outcome.status, outcome.reason) == (Status.FAIL, reason)


def test_an_allowed_substitute_passes_and_is_marked(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp(context, substituted=True)
    have(monkeypatch, torch_npu=OTHER)
    outcome = check(Verification(context))
    assert outcome.status is Status.PASS
    assert [row["name"] for row in outcome.data["rows"] if row["substituted"]] == ["torch-npu"]


def test_what_the_emulator_brings_is_a_substitute_too(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp(context)
    have(monkeypatch, torch_npu=OTHER)
    monkeypatch.setenv(VARIABLE, "1")
    outcome = check(Verification(context))
    assert outcome.status is Status.PASS
    assert [row["name"] for row in outcome.data["rows"] if row["substituted"]] == ["torch-npu"]


def test_a_package_that_drifted_from_the_lock_fails(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from packaging.requirements import Requirement

    stamp(context)
    have(monkeypatch, jinja2="3.0.0")
    monkeypatch.setattr(module, "missing_from", lambda lock: [Requirement("jinja2==3.1.6")])
    outcome = check(Verification(context))
    assert (outcome.status, outcome.reason) == (Status.FAIL, "not as locked: jinja2==3.1.6 (found: 3.0.0)")


def test_an_environment_without_a_stamp_fails(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch)
    assert check(Verification(context)).reason == "the environment has no stamp of its lock"


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [("<2", "1.26.4", True), ("<2", "2.0.0rc1", False), ("2.9.0", "2.9.0+cu128", True), ("2.9.0", "2.9.1", False)],
)
def test_a_range_or_a_release_is_compared_by_its_public_part(asked: str, found: str, expected: bool) -> None:
    assert fits(asked, found) is expected
