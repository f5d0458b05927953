"""The declared stack, read from requirements/stack.toml: the only source of its versions."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from env.toml import load_toml

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
MACHINES = ("x86_64", "aarch64")
SPELLINGS = {"arm64": "aarch64", "amd64": "x86_64", "x86-64": "x86_64"}  # as Docker, Debian and others have them
DECLARED = "declared"  # the name of the stack that [packages] declares
UNSTACKED = ("tools", "dev")  # environments of the bundle itself
MADE_LOCKS = ROOT / ".cache" / "locks"  # of versions that a user names
VERSION = re.compile(r"[0-9][0-9A-Za-z.+]*")


@dataclass(frozen=True)
class PublishedWheel:
    """A wheel that its maker publishes outside any index, for one Python and architecture."""

    python: str
    machine: str
    url: str


@dataclass(frozen=True)
class UnlockedPin:
    """A pin that no public index has, so no lock: installed after the lock, with --no-deps."""

    name: str
    version: str
    machines: tuple[str, ...]
    reason: str
    image: str = ""  # a container image that has it
    wheels: tuple[PublishedWheel, ...] = ()

    def wheel_for(self, python: str, machine: str) -> str | None:
        """Where its maker publishes the wheel for that interpreter. Nothing is fetched from there unasked."""
        return next((wheel.url for wheel in self.wheels if (wheel.python, wheel.machine) == (python, machine)), None)


@dataclass(frozen=True)
class Profile:
    """One environment: which devices it serves, what must import in it, which pins its lock lacks."""

    name: str
    summary: str
    devices: tuple[str, ...]
    imports: tuple[str, ...]
    unlocked: tuple[UnlockedPin, ...]

    def unlocked_on(self, machine: str) -> tuple[UnlockedPin, ...]:
        return tuple(pin for pin in self.unlocked if machine in pin.machines)


@dataclass(frozen=True)
class Other:
    """A stack beside the declared one: which packages it has in another version."""

    name: str  # as `--stack` takes it
    packages: Mapping[str, str]
    reason: str = ""  # what it is for; of versions that a user names, nothing

    @property
    def locked(self) -> bool:
        """Whether its locks ship. Of versions that a user names one is made where they are set up."""
        return bool(self.reason)


@dataclass(frozen=True)
class Stack:
    """requirements/stack.toml, typed."""

    pythons: tuple[str, ...]
    reference_python: str
    packages: dict[str, str]
    cann_series: str
    seed: int
    checkpoint: str
    stand_in: str
    profiles: dict[str, Profile]
    others: dict[str, Other] = field(default_factory=dict)

    def other(self, name: str) -> Other:
        """The stack that `name` names: one of `others`, or a version: "transformers=5.24.0".

        Raises:
            KeyError: there is no such.
        """
        if name in self.others:
            return self.others[name]
        package, equals, version = name.partition("=")
        if not equals or package not in self.packages or not VERSION.fullmatch(version):
            raise KeyError(name)
        return Other(name, {package: version})

    def named(self, name: str) -> Stack:
        """The same with the packages of another one; "" is this one."""
        return (
            replace(self, packages=self.packages | dict(self.other(name).packages))
            if name not in ("", DECLARED)
            else self
        )


@cache
def load_stack(path: Path = REQUIREMENTS / "stack.toml") -> Stack:
    """The declared stack.

    Raises:
        OSError, TOMLDecodeError, KeyError: the file is ours, so these are bugs, not user errors.
    """
    data = load_toml(path)
    profiles = {
        name: Profile(
            name=name,
            summary=table["summary"],
            devices=tuple(table["devices"]),
            imports=tuple(table["imports"]),
            unlocked=tuple(
                UnlockedPin(
                    name=pin["name"],
                    version=data["packages"][pin["name"]] + (f"+{pin['local']}" if "local" in pin else ""),
                    machines=tuple(pin["machines"]),
                    reason=pin["reason"],
                    image=pin.get("image", ""),
                    wheels=tuple(PublishedWheel(**wheel) for wheel in pin.get("wheels", ())),
                )
                for pin in table.get("apart", ())
            ),
        )
        for name, table in data["profiles"].items()
    }
    return Stack(
        pythons=tuple(data["python"]["supported"]),
        reference_python=data["python"]["reference"],
        packages=dict(data["packages"]),
        cann_series=data["cann"]["series"],
        seed=data["run"]["seed"],
        checkpoint=data["run"]["checkpoint"],
        stand_in=data["run"]["stand_in"],
        profiles=profiles,
        others={name: Other(name, dict(table["packages"]), table["reason"]) for name, table in data["stacks"].items()},
    )


def this_python() -> str:
    """Major.minor of the running interpreter, as locks are named: "3.10"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def architecture(name: str) -> str:
    """A processor architecture as wheels and CANN name it, of any of its spellings; of no other, what it was."""
    return SPELLINGS.get(name.lower(), name)


def this_machine() -> str:
    """The processor architecture as wheels name it: "x86_64" or "aarch64"."""
    return architecture(platform.machine())


def environment_name(profile: str, stack: str = "") -> str:
    """What the environment of a profile and a stack is called: "host", "host-t5", "host-transformers=5.24.0"."""
    return profile if stack in ("", DECLARED) or profile in UNSTACKED else f"{profile}-{stack}"


def profile_and_stack(environment: str) -> tuple[str, str]:
    """The profile and the stack, "" for the declared one, of an environment's name."""
    profile, _, stack = environment.partition("-")
    return profile, stack


def lock_path(environment: str, machine: str | None = None, python: str | None = None) -> Path:
    """The hashed lock of an environment (`environment_name`) for one architecture and Python."""
    machine = machine or this_machine()
    python = (python or this_python()).replace(".", "")
    stack = profile_and_stack(environment)[1]
    shipped = not stack or load_stack().other(stack).locked
    return (REQUIREMENTS / "locks" if shipped else MADE_LOCKS) / f"{environment}-{machine}-py{python}.txt"
