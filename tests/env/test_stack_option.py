"""Other stacks: declared ones with locks of their own, and versions that a user names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from env import builder, lock, options, stack
from env.errors import EnvironmentMissingError, ResolutionError
from env.runner import Completed
from env.setup import SetupRequest, make_parser
from env.stack import environment_name, load_stack, lock_path, profile_and_stack

NAMED = "transformers=5.24.0"


@pytest.mark.parametrize(
    ("profile", "name", "environment"),
    [
        ("host", "", "host"),
        ("host", "declared", "host"),
        ("npu", "t5", "npu-t5"),
        ("host", NAMED, f"host-{NAMED}"),
        ("tools", "t5", "tools"),
    ],
)
def test_an_environment_is_named_after_its_profile_and_stack(profile: str, name: str, environment: str) -> None:
    assert environment_name(profile, name) == environment
    assert profile_and_stack(environment) == (profile, name if environment != profile else "")


def test_a_stack_has_its_own_packages_and_the_declared_ones_beside() -> None:
    declared = load_stack()
    assert declared.named("t5").packages == declared.packages | {"transformers": "5.9.0"}
    assert declared.named(NAMED).packages == declared.packages | {"transformers": "5.24.0"}
    assert declared.named("") is declared.named("declared") is declared


@pytest.mark.parametrize("text", ["t6", "transformers", "transformers=", "transformers=>=5", "unknown=1.0", "=1"])
def test_what_is_no_stack_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"t5, or PACKAGE=VERSION"):
        options.stack(text)


def test_a_declared_stack_ships_its_locks_and_a_named_one_is_locked_where_it_is_set_up() -> None:
    assert lock_path("host-t5").parent == stack.REQUIREMENTS / "locks"
    assert lock_path(f"host-{NAMED}").parent == stack.MADE_LOCKS


def test_setup_and_the_environment_know_the_stack(tmp_path: Path) -> None:
    request = SetupRequest.from_options(make_parser().parse_args(["--stack", "t5"]))
    plan = builder.plan(environment_name("host", request.stack), venvs=tmp_path)
    assert (plan.path, plan.lock) == (tmp_path / "host-t5", lock_path("host-t5"))
    assert plan.imports == builder.plan("host", venvs=tmp_path).imports


def test_the_command_that_builds_a_stack_names_it(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissingError) as missing:
        builder.require("host-t5", tmp_path)
    assert missing.value.next == "nox -s setup -- --profile host --stack t5"


class Uv:
    """A uv that writes the constraints that it was given."""

    def __init__(self, *, ok: bool) -> None:
        self.ok = ok
        self.constraints = ""

    def __call__(
        self, args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None
    ) -> Completed:
        self.constraints = Path(args[list(args).index("--constraint") + 1]).read_text(encoding="utf-8")
        return Completed(tuple(args), 0 if self.ok else 1, "", "no solution: needs Python 3.11")


def test_a_named_version_is_locked_beside_the_declared_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "MADE_LOCKS", tmp_path)
    uv = Uv(ok=True)
    made = lock.lock_here(f"host-{NAMED}", runner=uv)
    assert made.parent == tmp_path
    assert "transformers==5.24.0\n" in uv.constraints
    assert f"torch=={load_stack().packages['torch']}\n" in uv.constraints


def test_versions_that_do_not_go_together_leave_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "MADE_LOCKS", tmp_path)
    with pytest.raises(ResolutionError):
        lock.lock_here(f"host-{NAMED}", runner=Uv(ok=False))
    assert list(tmp_path.iterdir()) == []
