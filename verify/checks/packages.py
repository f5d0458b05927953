"""Whether the environment that runs the checks holds what the stack declares and the lock pins."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from env import npu_emulator
from env.builder import Stamp, missing_from, read_stamp
from env.stack import REQUIREMENTS, ROOT, Stack, load_stack, this_python
from env.unlocked_pins import same_release
from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def installed(name: str) -> str | None:
    """The version of a distribution in the running environment, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def declared_rows(stack: Stack, profile: str) -> list[dict[str, Any]]:
    """A row for each declared package of the profile: what was asked, what is there, whether it fits."""
    elsewhere = {pin.name for one in stack.profiles.values() for pin in one.unlocked}
    rows = []
    for name, asked in stack.packages.items():
        found = installed(name)
        if found is None and name in elsewhere and profile != "npu":
            continue  # torch-npu has no place in the host profile
        ok = found is not None and fits(asked, found)
        rows.append({"name": name, "asked": asked, "found": found, "ok": ok, "substituted": False})
    return rows


def fits(asked: str, found: str) -> bool:
    """Whether an installed version satisfies a declared one: a range, or a release with any build tag."""
    if asked[0] in "<>=!~":
        return Requirement(f"name{asked}").specifier.contains(found, prereleases=True)
    return same_release(asked, found)


def drifted(lock: Path) -> list[str]:
    """The lock's pins that are not installed at that version, each with what is there instead."""
    return [f"{pin} (found: {installed(pin.name) or 'nothing'})" for pin in missing_from(lock)]


def check(session: Verification) -> Outcome:
    """Compare the running environment with the declared stack and with its lock, pin by pin."""
    stack = load_stack()
    stamp = read_stamp(Path(sys.prefix)) or Stamp()
    rows = declared_rows(stack, stamp.profile)
    allowed = {pin.name for pin in stamp.apart if pin.substituted}
    if npu_emulator.active():
        allowed.add("torch-npu")  # the emulator brings a published one
    for row in rows:
        row["substituted"] = not row["ok"] and row["name"] in allowed and row["found"] is not None
    lock = next((path for path in REQUIREMENTS.rglob("*.txt") if path.name == stamp.lock), None)
    loose = drifted(lock) if lock else []
    python_fits = this_python() in stack.pythons
    name = lock.relative_to(ROOT).as_posix() if lock else None
    data = {
        "rows": rows,
        "python": {"asked": list(stack.pythons), "found": sys.version.split()[0], "ok": python_fits},
        "lock": {"name": name, "drifted": loose},
    }
    wrong = [
        f"{row['name']} {row['asked']} asked, {row['found'] or 'nothing'} found"
        for row in rows
        if not row["ok"] and not row["substituted"]
    ]
    if not python_fits:
        wrong.append(f"Python {' or '.join(stack.pythons)} asked, {this_python()} found")
    if lock is None:
        wrong.append("the environment has no stamp of its lock")
    wrong += [f"not as locked: {text}" for text in loose]
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data)
    return Outcome(Status.PASS, f"as declared, and as {name} pins it", data)
