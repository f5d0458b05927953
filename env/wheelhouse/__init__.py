"""A wheelhouse: the locked wheels of one profile, architecture and Python in a folder, for a machine without network.

The locks are the root of trust: a wheel counts where its sha256 is one of its pin's. The manifest adds what the locks
do not know, the files that no lock pins, and what a person wants to know: sizes and licences.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from env import elsewhere, unlocked_pins
from env.digest import file_sha256
from env.errors import WheelhouseError
from env.language import _, concatenated
from env.lock import Locked, locked
from env.options import SERVICE
from env.stack import REQUIREMENTS, UnlockedPin, load_stack, lock_path

SCHEMA = 1
MANIFEST = "manifest.json"
NO_LOCK = "apart"  # in place of a lock's name, in the manifest
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
        return self.message

    @property
    def message(self) -> str:
        return _(
            "{profile}, {machine}, Python {python}", profile=self.profile, machine=self.machine, python=self.python
        )

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
    def unlocked(self) -> tuple[UnlockedPin, ...]:
        return () if self.profile in SERVICE else load_stack().profiles[self.profile].unlocked_on(self.machine)

    @property
    def _key(self) -> tuple[str, str, str]:
        return self.profile, self.machine, self.python

    def command(self, folder: str) -> str:
        options = ["--profile", self.profile, "--arch", self.machine, "--python", self.python, "--wheelhouse", folder]
        return shlex.join(["nox", "-s", "wheelhouse", "--", *options])


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
                name, version, _build, tags = parse_wheel_filename(path.name)
            except InvalidWheelFilename:
                continue
            if name == pin.name and version == pin.version and not tags.isdisjoint(self.tags) and path.is_file():
                yield path

    def sha256(self, path: Path) -> str:
        if path not in self.hashes:
            self.hashes[path] = file_sha256(path)
        return self.hashes[path]

    def held(self, pin: Locked) -> Path | None:
        """The wheel of a pin whose sha256 is a locked one."""
        return next((path for path in self.candidates(pin) if self.sha256(path) in pin.hashes), None)


@dataclass(frozen=True)
class File:
    """A wheel of a wheelhouse. `lock` is the lock that pins it, or NO_LOCK; `licence` as its METADATA states it."""

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
        manifest = msgspec.convert(elsewhere.read_json(path, "wheelhouse manifest"), Manifest)
        if manifest.schema != SCHEMA:
            raise ValueError(_("schema {schema} is needed", schema=SCHEMA))
        return manifest
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise WheelhouseError(
            _("{path} is damaged", path=str(path)),
            why=str(error),
            next=_("rm {path}   (the wheels themselves are held by the locks)", path=str(path)),
        ) from error


def verify(folder: Path, target: Target) -> None:
    """Check that `folder` has every wheel of the target's locks, whole, and what its manifest lists besides.

    Raises:
        WheelhouseError: a file is missing, damaged, or for something else; all of them are named.
    """
    command = target.command(str(folder))
    if not folder.is_dir():
        raise WheelhouseError(_("there is no wheelhouse {folder}", folder=str(folder)), next=command)
    manifest = read_manifest(folder)
    shelf = Shelf(folder, target.tags)
    problems = [*_unlike_the_locks(shelf, target, manifest), *_unlike_the_manifest(shelf, manifest)]
    problems += _unfit(folder, target)
    if not problems:
        return
    if manifest and manifest.target != target:
        raise WheelhouseError(
            _(
                "{folder} was made for {made_for}; this is {target}",
                folder=str(folder),
                made_for=manifest.target.message,
                target=target.message,
            ),
            why=problems[0],
            next=command,
        )
    problems = list(dict.fromkeys(problems))
    more = [_("... and {n} more", n=len(problems) - SHOWN)] if len(problems) > SHOWN else []
    raise WheelhouseError(
        listed(
            _("{folder} cannot serve {target}:", folder=str(folder), target=target.message), [*problems[:SHOWN], *more]
        ),
        next=concatenated(command, "\n        ", _("on a connected machine: it fetches only what is missing")),
    )


def listed(head: str, items: Iterable[str]) -> str:
    """A message with items under it, each on a line of its own."""
    return concatenated(head, *(part for item in items for part in ("\n  - ", item)))


def _unlike_the_locks(shelf: Shelf, target: Target, manifest: Manifest | None) -> Iterator[str]:
    entries = manifest.files if manifest and manifest.target == target else ()
    names = {(entry.name, entry.version): entry.file for entry in entries}
    for pin in target.pins:
        candidates = list(shelf.candidates(pin))
        if not candidates:
            file = names.get((pin.name, str(pin.version)))
            wheel = file or _("a wheel of {name} {version}", name=pin.name, version=str(pin.version))
            yield _("missing: {file}", file=wheel)
        elif not shelf.held(pin):
            for path in candidates:
                yield _(
                    "damaged: {file} (sha256 {digest} is none of the lock's)", file=path.name, digest=shelf.sha256(path)
                )


def _unlike_the_manifest(shelf: Shelf, manifest: Manifest | None) -> Iterator[str]:
    """Files that the manifest lists and no lock pins."""
    for entry in manifest.files if manifest else ():
        path = shelf.folder / entry.file
        if entry.lock == NO_LOCK and not path.is_file():
            yield _("missing: {file}", file=entry.file)
        elif entry.lock == NO_LOCK and shelf.sha256(path) != entry.sha256:
            yield _("damaged: {file} (its sha256 is not the manifest's)", file=entry.file)


def _unfit(folder: Path, target: Target) -> Iterator[str]:
    """Wheels dropped in for an unlocked pin that do not fit it; where there is none, setup looks further."""
    for pin in target.unlocked:
        try:
            wheel = unlocked_pins.in_folders(pin, [str(folder)], target.python, target.machine)
        except WheelhouseError as error:
            yield _("damaged: {what} ({why})", what=error.what, why=error.why)
            continue
        if wheel is None:
            interpreter = f"cp{target.python.replace('.', '')}"
            for path in sorted(folder.glob("*.whl")):
                if canonicalize_name(path.name.split("-")[0]) == canonicalize_name(pin.name):
                    yield _(
                        "does not fit: {file} (needed: {name} {version}, {interpreter}, {machine})",
                        file=path.name,
                        name=pin.name,
                        version=pin.version,
                        interpreter=interpreter,
                        machine=target.machine,
                    )
