"""`nox -s lock`: hashed requirements files from requirements/*.in and the declared stack.

One file a profile, architecture and Python, all made on any machine (uv resolves for a platform it does not run on).
They hold no index address, so they work against any mirror.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from env.arguments import Parser
from env.errors import InstallError, ResolutionError
from env.installer import find_uv
from env.language import _
from env.runner import Runner, run
from env.stack import MACHINES, REQUIREMENTS, Stack, load_stack, lock_path

LOCKED_PROFILES = ("host", "npu", "dev")
UNIVERSAL = ("nox", "tools", "supply")  # small pure-Python sets: one file serves every machine and Python
# Every wheel of the stack is manylinux_2_28 or older, and CANN 8.5 supports no older glibc.
PLATFORM = "{machine}-manylinux_2_28"


def constraints(stack: Stack) -> str:
    """The declared versions as constraints. torch-npu is never resolved from an index: see stack.toml."""
    lines = []
    for name, version in sorted(stack.packages.items()):
        lines.append(f"{name}{version}" if version[0] in "<>=!~" else f"{name}=={version}")
    return "\n".join(lines) + "\n"


def overrides(stack: Stack, profile: str, machine: str) -> str:
    """Requirements that must not be resolved, because no index has them: they are installed after the lock."""
    if profile not in stack.profiles:
        return ""
    return "".join(f"{pin.name}; sys_platform == 'never'\n" for pin in stack.profiles[profile].unlocked_on(machine))


@dataclass(frozen=True)
class Locked:
    """One pin of a hashed lock: canonical name, version, the sha256 of every wheel that is this pin."""

    name: str
    version: Version
    hashes: frozenset[str]
    lock: str


def _requirements(lock: Path) -> Iterator[tuple[Requirement, frozenset[str]]]:
    for line in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line and line[0] not in " #-":
            requirement, *hashes = line.split("--hash=sha256:")
            yield Requirement(requirement.strip()), frozenset(one.strip() for one in hashes)


def pins(lock: Path) -> list[Requirement]:
    """The pins of a hashed lock that apply to the running interpreter, in its order."""
    return [one for one, _hashes in _requirements(lock) if one.marker is None or one.marker.evaluate()]


def every_pin(lock: Path) -> list[tuple[str, str]]:
    """Canonical name and version of every pin of a hashed lock, whatever interpreter it is for."""
    return [
        (str(canonicalize_name(one.name)), next(iter(one.specifier)).version) for one, _hashes in _requirements(lock)
    ]


def locked(lock: Path, environment: Mapping[str, str]) -> list[Locked]:
    """The pins of a hashed lock with their hashes, for an interpreter with these environment markers."""
    chosen = []
    for requirement, hashes in _requirements(lock):
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            (specifier,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            chosen.append(Locked(name, Version(specifier.version), hashes, lock.name))
    return chosen


def _compile(uv: str, source: Path, target: Path, options: Sequence[str], runner: Runner) -> None:
    environ = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "nox -s lock", "UV_PYTHON_DOWNLOADS": "never"}
    command = [uv, "pip", "compile", str(source), "--output-file", str(target)]
    command += ["--generate-hashes", "--no-annotate", "--only-binary", ":all:", "--quiet", *options]
    done = runner(command, timeout=600, environ=environ)
    if not done.ok:
        raise ResolutionError(
            _("cannot lock {name}", name=target.name),
            why=done.stderr.strip()[-2000:],
            next=_("edit requirements/{name}", name=source.name),
        )


def lock_all(*, upgrade: bool = False, runner: Runner = run) -> list[Path]:
    """Write every lock, and return their paths.

    Raises:
        InstallError: uv is not installed (pip cannot resolve for another platform).
        ResolutionError: a set does not resolve.
    """
    uv = find_uv()
    if uv is None:
        raise InstallError(_("locking needs uv"), next="pip install -r requirements/nox.txt")
    stack = load_stack()
    written = []
    extra = ["--upgrade"] if upgrade else []
    with tempfile.TemporaryDirectory() as folder:
        constraint_file = Path(folder, "stack.txt")
        constraint_file.write_text(constraints(stack), encoding="utf-8")
        override_file = Path(folder, "overrides.txt")
        for name in UNIVERSAL:
            target = REQUIREMENTS / f"{name}.txt"
            oldest = stack.pythons[0]
            _compile(
                uv, REQUIREMENTS / f"{name}.in", target, ["--universal", "--python-version", oldest, *extra], runner
            )
            written.append(target)
        for profile in LOCKED_PROFILES:
            for machine in MACHINES:
                override_file.write_text(overrides(stack, profile, machine), encoding="utf-8")
                for python in stack.pythons:
                    target = lock_path(profile, machine, python)
                    options = ["--python-version", python, "--python-platform", PLATFORM.format(machine=machine)]
                    options += ["--constraint", str(constraint_file), "--override", str(override_file), *extra]
                    _compile(uv, REQUIREMENTS / f"{profile}.in", target, options, runner)
                    written.append(target)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m env lock", description=_("Write the hashed locks."))
    parser.add_argument("--upgrade", action="store_true", help=_("take newer versions where the inputs allow them"))
    options = parser.parse_args(argv)
    for path in lock_all(upgrade=options.upgrade):
        print(path.relative_to(REQUIREMENTS.parent))
    return 0
