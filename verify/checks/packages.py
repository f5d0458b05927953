"""Whether the environment that runs the checks holds what the stack declares and the lock pins."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from env.apart import same_release
from env.builder import missing_from, read_stamp
from env.stack import REQUIREMENTS, ROOT, Stack, load_stack, this_python
from verify.context import Context
from verify.records import Outcome, Status


def installed(name: str) -> str | None:
    """The version of a distribution in the running environment, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def declared_rows(stack: Stack, profile: str) -> list[dict[str, Any]]:
    """A row for each declared package of the profile: what was asked, what is there, whether it fits."""
    stands_apart = {pin.name for one in stack.profiles.values() for pin in one.apart if "local" not in pin.version}
    own = {pin.name for pin in stack.profiles[profile].apart} if profile in stack.profiles else set()
    rows = []
    for name, asked in stack.packages.items():
        if name in stands_apart and name not in own and installed(name) is None:
            continue  # torch-npu has no place in the host profile
        found = installed(name)
        rows.append({"name": name, "asked": asked, "found": found, "ok": found is not None and fits(asked, found)})
    return rows


def fits(asked: str, found: str) -> bool:
    """Whether an installed version satisfies a declared one: a range, or a release with any build tag."""
    if asked[0] in "<>=!~":
        return Requirement(f"name{asked}").specifier.contains(found, prereleases=True)
    return same_release(asked, found)


def drifted(lock: Path) -> list[str]:
    """The lock's pins that are not installed at that version, each with what is there instead."""
    return [f"{pin} (found: {installed(pin.name) or 'nothing'})" for pin in missing_from(lock)]


def packages(context: Context) -> Outcome:
    """Compare the running environment with the declared stack and with its lock, pin by pin."""
    stack = load_stack()
    stamp = read_stamp(Path(sys.prefix)) or {}
    rows = declared_rows(stack, stamp.get("profile", "host"))
    substituted = {row["name"] for row in stamp.get("apart", ()) if row.get("substituted")}
    lock = next((path for path in REQUIREMENTS.rglob("*.txt") if path.name == stamp.get("lock")), None)
    loose = drifted(lock) if lock else []
    python_fits = this_python() in stack.pythons
    name = lock.relative_to(ROOT).as_posix() if lock else None
    data = {
        "rows": rows,
        "python": {"asked": list(stack.pythons), "found": sys.version.split()[0], "ok": python_fits},
        "lock": {"name": name, "drifted": loose},
    }
    wrong = [f"{row['name']} {row['asked']} asked, {row['found']} found" for row in rows if not row["ok"]]
    wrong = [text for text in wrong if text.split()[0] not in substituted]
    if not python_fits:
        wrong.append(f"Python {' or '.join(stack.pythons)} asked, {this_python()} found")
    if lock is None:
        wrong.append("the environment has no stamp of its lock")
    wrong += [f"not as locked: {text}" for text in loose]
    if wrong:
        return Outcome(Status.FAIL, "; ".join(wrong), data)
    return Outcome(Status.PASS, f"as declared, and as {name} pins it", data)
