"""A wheelhouse: the locked wheels of one profile, architecture and Python in a folder, for a machine without network.

The locks are the root of trust: a wheel counts where its sha256 is one of its pin's. The manifest adds what the locks
do not know, the files that stand apart, and what a person wants to know: sizes and licences.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from env import apart
from env.errors import WheelhouseError
from env.lock import Locked, locked
from env.options import SERVICE
from env.stack import REQUIREMENTS, Apart, load_stack, lock_path

SCHEMA = 1
MANIFEST = "manifest.json"
APART = "apart"  # in place of a lock's name
SHOWN = 20  # problems named in one message

# Newest manylinux first, as the locks were resolved (env/lock.py); older ones run there too.
GLIBC_MINORS = range(28, 4, -1)
LEGACY = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1"), "aarch64": ("manylinux2014",)}


@dataclass(frozen=True)
class Target:
    """What the wheels are for: a profile on an architecture ("aarch64") and a Python ("3.10")."""

    profile: str
    machine: str
    python: str

    def __str__(self) -> str:
        return f"{self.profile}, {self.machine}, Python {self.python}"

    @property
    def platforms(self) -> list[str]:
        names = [f"manylinux_2_{minor}" for minor in GLIBC_MINORS] + [*LEGACY[self.machine], "linux"]
        return [f"{name}_{self.machine}" for name in names]

    @cached_property
    def tags(self) -> frozenset[Tag]:
        """The wheel tags that an interpreter of this target takes."""
        major, minor = map(int, self.python.split("."))
        own = cpython_tags((major, minor), abis=[f"cp{major}{minor}"], platforms=self.platforms)
        return frozenset((*own, *compatible_tags((major, minor), f"cp{major}{minor}", self.platforms)))

    @property
    def environment(self) -> dict[str, str]:
        """The environment markers of the target, whatever runs here."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    @property
    def locks(self) -> list[Path]:
        """The locks that setup installs from, and nox's own, without which there is no setup."""
        own = REQUIREMENTS / "tools.txt" if self.profile == "tools" else lock_path(*self._key)
        return list(dict.fromkeys((own, REQUIREMENTS / "tools.txt", REQUIREMENTS / "nox.txt")))

    @property
    def pins(self) -> list[Locked]:
        """Every pin of the locks once, in their order."""
        unique: dict[tuple[str, Version], Locked] = {}
        for lock in self.locks:
            for pin in locked(lock, self.environment):
                unique.setdefault((pin.name, pin.version), pin)
        return list(unique.values())

    @property
    def apart(self) -> tuple[Apart, ...]:
        return () if self.profile in SERVICE else load_stack().profiles[self.profile].apart_on(self.machine)

    @property
    def _key(self) -> tuple[str, str, str]:
        return self.profile, self.machine, self.python

    def command(self, folder: str) -> str:
        words = ["--profile", self.profile, "--arch", self.machine, "--python", self.python, "--wheelhouse", folder]
        return shlex.join(["nox", "-s", "wheelhouse", "--", *words])


class Shelf:
    """The wheels of a folder as their names say, each hashed at most once."""

    def __init__(self, folder: Path, tags: frozenset[Tag]) -> None:
        self.folder = folder
        self.tags = tags
        self.hashes: dict[Path, str] = {}

    def candidates(self, pin: Locked) -> Iterator[Path]:
        """The wheels that by their names are this pin, for the target."""
        for path in sorted(self.folder.glob("*.whl")):
            try:
                name, version, _, tags = parse_wheel_filename(path.name)
            except InvalidWheelFilename:
                continue
            if name == pin.name and version == pin.version and not tags.isdisjoint(self.tags):
                yield path

    def sha256(self, path: Path) -> str:
        if path not in self.hashes:
            self.hashes[path] = apart.sha256_of(path)
        return self.hashes[path]

    def held(self, pin: Locked) -> Path | None:
        """The wheel of a pin whose sha256 is a locked one."""
        return next((path for path in self.candidates(pin) if self.sha256(path) in pin.hashes), None)


@dataclass(frozen=True)
class File:
    """A wheel of a wheelhouse. `lock` is the lock that pins it, or "apart"; `licence` as its METADATA states it."""

    file: str
    name: str
    version: str
    sha256: str
    bytes: int
    licence: str | None
    lock: str


@dataclass(frozen=True)
class Missing:
    """A pin that no source had, and that is to be added by hand."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """manifest.json: what a wheelhouse was made for, from which locks (name -> sha256), and what is in it."""

    profile: str
    machine: str
    python: str
    made: str  # UTC, ISO 8601
    locks: dict[str, str]
    bytes: int
    files: tuple[File, ...]
    missing: tuple[Missing, ...]
    schema: int = SCHEMA

    @property
    def target(self) -> Target:
        return Target(self.profile, self.machine, self.python)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a wheelhouse; None where there is none, as in a folder filled by hand.

    Raises:
        WheelhouseError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise ValueError(f"schema {SCHEMA} is needed")
        import msgspec  # only a manifest needs it

        return msgspec.convert(value, Manifest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WheelhouseError(
            f"{path} is damaged", why=str(error), next=f"rm {path}   (the wheels themselves are held by the locks)"
        ) from error


def verify(folder: Path, target: Target) -> None:
    """Check that `folder` has every wheel of the target's locks, whole, and what its manifest lists besides.

    Raises:
        WheelhouseError: a file is missing, damaged, or for something else; all of them are named.
    """
    if not folder.is_dir():
        raise WheelhouseError(f"there is no wheelhouse {folder}", next=target.command(str(folder)))
    manifest = read_manifest(folder)
    shelf = Shelf(folder, target.tags)
    problems = [*_unlike_the_locks(shelf, target, manifest), *_unlike_the_manifest(shelf, manifest)]
    problems += _unfit(folder, target)
    if not problems:
        return
    if manifest and manifest.target != target:
        raise WheelhouseError(
            f"{folder} was made for {manifest.target}; this is {target}",
            why=problems[0],
            next=target.command(str(folder)),
        )
    problems = list(dict.fromkeys(problems))
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    lines = "".join(f"\n  - {line}" for line in [*problems[:SHOWN], *more])
    raise WheelhouseError(
        f"{folder} cannot serve {target}:{lines}",
        next=f"{target.command(str(folder))}\n        on a connected machine: it fetches only what is missing",
    )


def _unlike_the_locks(shelf: Shelf, target: Target, manifest: Manifest | None) -> Iterator[str]:
    listed = manifest.files if manifest and manifest.target == target else ()
    names = {(entry.name, entry.version): entry.file for entry in listed}
    for pin in target.pins:
        candidates = list(shelf.candidates(pin))
        if not candidates:
            yield f"missing: {names.get((pin.name, str(pin.version)), f'a wheel of {pin.name} {pin.version}')}"
        elif not shelf.held(pin):
            for path in candidates:
                yield f"damaged: {path.name} (sha256 {shelf.sha256(path)} is none of the lock's)"


def _unlike_the_manifest(shelf: Shelf, manifest: Manifest | None) -> Iterator[str]:
    """Files that no lock pins and the manifest lists: those that stand apart."""
    for entry in manifest.files if manifest else ():
        path = shelf.folder / entry.file
        if entry.lock == APART and not path.is_file():
            yield f"missing: {entry.file}"
        elif entry.lock == APART and shelf.sha256(path) != entry.sha256:
            yield f"damaged: {entry.file} (its sha256 is not the manifest's)"


def _unfit(folder: Path, target: Target) -> Iterator[str]:
    """Wheels dropped in for a pin that stands apart that do not fit it; where there is none, setup looks further."""
    for pin in target.apart:
        try:
            found = apart.in_folders(pin, [str(folder)], target.python, target.machine)
        except WheelhouseError as error:
            yield f"damaged: {error.what} ({error.why})"
            continue
        if not found:
            wanted = f"{pin.version}, cp{target.python.replace('.', '')}, {target.machine}"
            for path in sorted(folder.glob("*.whl")):
                if canonicalize_name(path.name.split("-")[0]) == canonicalize_name(pin.name):
                    yield f"does not fit: {path.name} (needed: {pin.name} {wanted})"
