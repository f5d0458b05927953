"""Whether the environment that runs the checks holds what the stack declares and the lock pins."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from env import npu_emulator
from env.builder import Stamp, missing_from, read_stamp
from env.language import Message, _
from env.stack import REQUIREMENTS, ROOT, Stack, load_stack, this_python
from env.unlocked_pins import same_release
from verify.run.figures.host import LockFigures, PackageRow, PackagesFigures, PythonRow
from verify.run.judgement import of_packages
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification


def installed(name: str) -> str | None:
    """The version of a distribution in the running environment, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def declared_rows(stack: Stack, profile: str, allowed: Collection[str] = ()) -> list[PackageRow]:
    """A row for each declared package of the profile. Of those that are `allowed` another version is a substitute."""
    elsewhere = {pin.name for one in stack.profiles.values() for pin in one.unlocked}
    rows = []
    for name, declared in stack.packages.items():
        there = installed(name)
        if there is None and name in elsewhere and profile != "npu":
            continue  # torch-npu has no place in the host profile
        ok = there is not None and fits(declared, there)
        substituted = there is not None and not ok and name in allowed
        rows.append(PackageRow(name=name, asked=declared, found=there, ok=ok, substituted=substituted))
    return rows


def fits(declared: str, there: str) -> bool:
    """Whether an installed version satisfies a declared one: a range, or a release with any build tag."""
    if declared[0] in "<>=!~":
        return Requirement(f"name{declared}").specifier.contains(there, prereleases=True)
    return same_release(declared, there)


def drifted(lock: Path) -> list[Message]:
    """The lock's pins that are not installed at that version, each with what is there instead."""
    return [
        _("{pin} (found: {version})", pin=str(pin), version=installed(pin.name) or _("nothing"))
        for pin in missing_from(lock)
    ]


def check(session: Verification) -> Outcome:
    """Compare the running environment with the declared stack and with its lock, pin by pin."""
    stack = load_stack()
    stamp = read_stamp(Path(sys.prefix)) or Stamp()
    allowed = {pin.name for pin in stamp.apart if pin.substituted}
    if npu_emulator.active():
        allowed.add("torch-npu")  # the emulator brings a published one
    rows = declared_rows(stack, stamp.profile, allowed)
    lock = next((path for path in REQUIREMENTS.rglob("*.txt") if path.name == stamp.lock), None)
    loose = drifted(lock) if lock else []
    name = lock.relative_to(ROOT).as_posix() if lock else None
    python = PythonRow(asked=list(stack.pythons), found=sys.version.split()[0], ok=this_python() in stack.pythons)
    figures = PackagesFigures(rows=rows, python=python, lock=LockFigures(name=name, drifted=list(loose)))
    if problems := of_packages(figures):
        return failed(problems, figures)
    return passed(_("as declared, and as {lock} pins it", lock=name), figures)
