"""Pins that no lock holds, because no public index has them: located in the base interpreter, a folder of wheels or an
index, before any download.

The order is the design's: what an image brings preinstalled comes first, because it was built for that CANN.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shlex
import shutil
import site
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from env import elsewhere
from env.digest import file_sha256
from env.errors import InstallError, ResolutionError, WheelhouseError
from env.installer import Sources
from env.language import _, concatenated
from env.options import NEAREST
from env.probe.indexes import index_versions
from env.runner import Runner, run
from env.stack import UnlockedPin


class Located(msgspec.Struct, frozen=True, rename={"pinned": "asked", "version": "found"}):
    """Where a pin stands: `source` is "base interpreter", "wheel" or "index"; `place` a folder, a file or nothing."""

    name: str
    pinned: str = ""
    version: str = ""
    source: str = ""
    place: str = ""
    sha256: str = ""

    @property
    def substituted(self) -> bool:
        return not same_release(self.pinned, self.version)


class Installed(Located, frozen=True):
    """A pin as the record of an environment has it: its place without the folders of this machine."""

    substituted: bool = False


def installed(pin: Located) -> Installed:
    """What a record keeps of an installed pin."""
    place = Path(pin.place).name if pin.place else ""
    return Installed(pin.name, pin.pinned, pin.version, pin.source, place, pin.sha256, pin.substituted)


def is_version(text: str) -> bool:
    """Whether `text` is a version as packaging reads them; vendors' development builds are not always."""
    try:
        Version(text)
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number
        return False
    return True


def same_release(pinned: str, version: str) -> bool:
    """Whether `version` satisfies the pin: equal public versions, and equal local parts where the pin has one.

    2.9.0.post1+gitee7ba04 satisfies 2.9.0.post1: vendors publish the same release with different build tags.
    """
    pin, candidate = Version(pinned), Version(version)
    if pin.local is not None:
        return pin == candidate
    return pin.public == candidate.public


def base_site_packages() -> list[str]:
    """The site-packages of the interpreter that the running virtual environment (if any) was made from, and the user's
    own, where `pip install` without root puts what it installs.
    """
    return [*site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]), site.getusersitepackages()]


def in_base(pin: UnlockedPin, folders: Sequence[str]) -> Located | None:
    """The pin as preinstalled in the base interpreter, from metadata alone (nothing is imported)."""
    for distribution in importlib.metadata.distributions(name=pin.name, path=list(folders)):
        version = distribution.metadata["Version"] or ""  # a half-removed one has none
        if is_version(version) and same_release(pin.version, version):
            record = distribution.read_text("RECORD") or ""
            digest = hashlib.sha256(record.encode()).hexdigest() if record else ""
            return Located(
                pin.name, pin.version, version, "base interpreter", str(distribution.locate_file("")), digest
            )
    return None


def at_hand(
    pin: UnlockedPin, find_links: Sequence[str], python: str, machine: str, base: Sequence[str]
) -> Located | None:
    """The pin where it takes no index: in the base interpreter, else in one of the user's folders."""
    return in_base(pin, base) or in_folders(pin, find_links, python, machine)


def _folders(find_links: Sequence[str]) -> list[Path]:
    """The local folders among `find_links`."""
    folders = []
    for place in find_links:
        url = urlparse(place)
        path = Path(url2pathname(url.path)) if url.scheme == "file" else Path(place)
        if path.is_dir():
            folders.append(path)
    return folders


def _fits(path: Path, pin: UnlockedPin, python: str, machine: str) -> bool:
    """Whether a wheel's name says it is this pin for this Python and machine."""
    try:
        name, version, _build, tags = parse_wheel_filename(unquote(path.name))
    except InvalidWheelFilename:
        return False
    if name != canonicalize_name(pin.name) or not same_release(pin.version, str(version)):
        return False
    interpreter = "cp" + python.replace(".", "")
    return any(
        tag.interpreter in (interpreter, "py3") and (tag.platform == "any" or tag.platform.endswith(machine))
        for tag in tags
    )


def wheel_headers(path: Path, file: str = "METADATA", *, whole: bool = False) -> Message:
    """The headers of METADATA, or of WHEEL, inside a wheel; with `whole` every member is read and must be sound.

    Raises:
        WheelhouseError: the file is no readable wheel.
    """
    try:
        with elsewhere.opened(path) as opened, zipfile.ZipFile(opened) as archive:
            inner = next(name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
            with archive.open(inner) as member:
                text = elsewhere.limited(cast(BinaryIO, member), "wheel metadata", inner)
            if whole and (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {bad} is wrong")
            return HeaderParser().parsestr(text.decode("utf-8", "replace"))
    except (OSError, zipfile.BadZipFile, zlib.error, StopIteration) as error:
        raise WheelhouseError(
            _("{name} is not a readable wheel", name=path.name),
            why=str(error) or _("it has no {file}", file=file),
            next=_("fetch {name} again", name=path.name),
        ) from error


def wheel_metadata(path: Path) -> tuple[str, str]:
    """Name and version from the METADATA inside a wheel that is sound.

    Raises:
        WheelhouseError: the file is no readable wheel.
    """
    headers = wheel_headers(path, whole=True)
    return canonicalize_name(headers.get("Name", "")), headers.get("Version", "")


def _made_for(path: Path, machine: str) -> bool:
    """Whether the WHEEL inside says so, too: a renamed file of another machine would install, and then not load."""
    platforms = [str(tag).rpartition("-")[2] for tag in wheel_headers(path, "WHEEL").get_all("Tag", [])]
    return any(platform == "any" or platform.endswith(machine) for platform in platforms)


def in_folders(pin: UnlockedPin, find_links: Sequence[str], python: str, machine: str) -> Located | None:
    """The pin as a wheel in one of the user's folders, its name and its metadata both fitting."""
    for folder in _folders(find_links):
        for path in sorted(folder.glob("*.whl")):
            if _fits(path, pin, python, machine):
                if unquote(path.name) != path.name:  # as a browser or curl saves the wheel of a +git build
                    raise _quoted(path)
                name, version = wheel_metadata(path)
                if name != canonicalize_name(pin.name) or not same_release(pin.version, version):
                    raise _renamed(path, f"{name} {version}")
                if not _made_for(path, machine):
                    raise _renamed(path, _("a wheel for another machine"))
                return Located(pin.name, pin.version, version, "wheel", str(path), file_sha256(path))
    return None


def _quoted(path: Path) -> WheelhouseError:
    return WheelhouseError(
        _("{name} is the wheel, under a name that pip refuses", name=path.name),
        why=_("its name was saved as its address spells it, with %2B for +"),
        next=shlex.join(["mv", str(path), str(path.with_name(unquote(path.name)))]),
    )


def _renamed(path: Path, holds: str) -> WheelhouseError:
    return WheelhouseError(
        _("{name} holds {wheel}", name=path.name, wheel=holds),
        why=_("the file was renamed"),
        next=_("fetch {name} again", name=path.name),
    )


def published(name: str, sources: Sources, runner: Runner = run) -> list[str]:
    """The versions of `name` that the configured indexes have, newest first; empty where none answered.

    Raises:
        InstallError: the running interpreter has no pip.
    """
    if sources.offline:
        return []
    listing = index_versions(name, sources.arguments(), runner=runner)
    if "No module named pip" in (listing.error or ""):  # where uv made the environment that nox runs in
        raise InstallError(
            _("{python} has no pip, which asks the index", python=sys.executable), next="python -m ensurepip"
        )
    return list(listing.versions)


def nearest(pinned: str, versions: Sequence[str]) -> list[str]:
    """The published versions of the same base version (2.9.0, 2.9.0.post2, ...), oldest first."""
    base = Version(pinned).base_version
    near = [version for version in map(Version, filter(is_version, versions)) if version.base_version == base]
    return [str(version) for version in sorted(near) if not version.is_prerelease]


def locate(
    pins: Sequence[UnlockedPin],
    sources: Sources,
    *,
    python: str,
    machine: str,
    substitute: str | None = None,
    explain: Callable[[str], str] = lambda version: "",
    runner: Runner = run,
    base: Sequence[str] | None = None,
) -> list[Located]:
    """Find every pin before anything is downloaded, or tell of all of them what is missing.

    `substitute` is the torch-npu version that may stand in for the pin where the pin is not to be had, or NEAREST;
    `explain` tells which CANN a published version needs.

    Raises:
        ResolutionError: no source has one of the pins; the message names what is published and what to type.
    """
    search = _Search(sources, python, machine, base_site_packages() if base is None else base, runner)
    located: list[Located] = []
    missing: list[str] = []
    for pin in pins:
        versions, place = search.find(pin)
        if place is None and substitute and pin.name == "torch-npu":
            version = _not_newer(pin.version, versions) if substitute == NEAREST else substitute
            place = search.find(replace(pin, version=version))[1] if version else None
        if place is None:
            missing.append(_explain_missing(pin, versions, explain))
        else:
            located.append(msgspec.structs.replace(place, pinned=pin.version))
    if missing:
        first, *others = missing
        raise ResolutionError(
            concatenated(
                _("no configured source has {pin}", pin=first), *(_(", and none has {pin}", pin=pin) for pin in others)
            ),
            why=_("looked in the base interpreter's site-packages, the --find-links folders and the configured index"),
            next=_ways_out(pins, python, machine),
        )
    return located


@dataclass(frozen=True)
class _Search:
    sources: Sources
    python: str
    machine: str
    base: Sequence[str]
    runner: Runner

    def find(self, pin: UnlockedPin) -> tuple[list[str], Located | None]:
        """The published versions (looked up only where nothing local fits), and where the pin is, if anywhere."""
        place = at_hand(pin, self.sources.find_links, self.python, self.machine, self.base)
        if place:
            return [], place
        versions = published(pin.name, self.sources, self.runner)
        if any(same_release(pin.version, version) for version in versions):
            return versions, Located(pin.name, pin.version, pin.version, "index")
        return versions, None


def _not_newer(pinned: str, versions: Sequence[str]) -> str | None:
    """The newest published version of the same base version that is not newer than the pin."""
    older = [version for version in nearest(pinned, versions) if Version(version) <= Version(pinned)]
    return older[-1] if older else None


def _explain_missing(pin: UnlockedPin, versions: Sequence[str], explain: Callable[[str], str]) -> str:
    near = nearest(pin.version, versions)
    head = _("{name} {version} ({reason})", name=pin.name, version=pin.version, reason=_(pin.reason))
    if near:
        rows = [f"{version} {explain(version)}".rstrip() for version in near]
        published = _("published instead: {versions}", versions=", ".join(rows))
    elif versions:
        published = _(
            "published: {versions}, ...; none of them is a {release}",
            versions=", ".join(versions[:4]),
            release=Version(pin.version).base_version,
        )
    else:
        published = _("no index answered with any version of it")
    return concatenated(head, "\n    ", published)


def _ways_out(pins: Sequence[UnlockedPin], python: str, machine: str) -> str:
    ways: list[str] = []
    for pin in pins:
        if url := pin.wheel_for(python, machine):
            ways.append(
                _(
                    "{download} && nox -s setup -- --device npu:0 --find-links wheels   (where its maker publishes it)",
                    download=f"python -m pip download --no-deps -d wheels '{url}'",
                )
            )
    ways.append("nox -s setup -- --device npu:0 --find-links FOLDER_WITH_THE_WHEELS")
    ways += [_("run inside an image that has it: {image}", image=pin.image) for pin in pins if pin.image]
    ways.append(
        _("nox -s setup -- --device npu:0 --allow-substitute VERSION   (the record and the documents then say so)")
    )
    if any(pin.version.endswith("+cpu") for pin in pins):
        ways.append(
            _("on {machine}, for the +cpu builds: add --extra-index-url URL_OF_PYTORCH'S_CPU_INDEX", machine=machine)
        )
    return concatenated(_("one of"), *(part for way in ways for part in ("\n    ", way)))


def copy_from_base(pin: Located, target: Path) -> None:
    """Copy an installed distribution, file by file as its RECORD lists it, into another site-packages.

    Raises:
        InstallError: it has no RECORD, or a listed file is missing (an installation half removed).
    """
    distribution = next(iter(importlib.metadata.distributions(name=pin.name, path=[pin.place])), None)
    files = distribution.files if distribution else None
    if not distribution or not files:
        raise InstallError(
            _("{name} in {folder} has no RECORD", name=pin.name, folder=pin.place), next=f"pip show --files {pin.name}"
        )
    for file in files:
        if file.is_absolute() or ".." in file.parts or file.suffix == ".pyc":
            continue  # scripts outside site-packages and byte code are the new environment's own affair
        origin = Path(str(distribution.locate_file(file)))
        if not origin.is_file():
            raise InstallError(
                _("{name} in {folder} is damaged: {file} is missing", name=pin.name, folder=pin.place, file=str(file)),
                why=_("it was half removed or half upgraded"),
                next=f"pip install --force-reinstall --no-deps {pin.name}",
            )
        place = target / str(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(origin, place)


def fetch(pin: Located, folder: Path, sources: Sources, runner: Runner = run) -> Located:
    """Download a pin's wheel from the index into `folder`, so that its sha256 can be kept.

    Raises:
        InstallError: the index listed the version and did not give it.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command += [*sources.arguments(), f"{pin.name}=={pin.version}"]
    done = runner(command, timeout=3600.0)
    wheels = list(folder.glob("*.whl"))
    if not done.ok or not wheels:
        raise InstallError(
            _("cannot download {name} {version}", name=pin.name, version=pin.version), why=done.stderr.strip()[-1000:]
        )
    version = wheel_metadata(wheels[0])[1]
    return msgspec.structs.replace(pin, version=version, place=str(wheels[0]), sha256=file_sha256(wheels[0]))
