"""`python -m env capture OUT.tar.gz`: all that the probe looks at on this machine, to be audited on another.

What the probe read is what the capture holds, so `--root` reads there what it would have read here. Secrets never get
in: only an allow-list of variables is looked at, package metadata is cut down to versions and requirements, and the
host's name, the user's name and home, addresses and serial numbers are replaced.
"""

from __future__ import annotations

import errno
import io
import ipaddress
import json
import os
import posixpath
import pwd
import re
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from env.arguments import Parser
from env.atomic import replacing
from env.errors import storage_error
from env.language import _, translate
from env.probe import collect, packages
from env.probe.snapshot import CAPTURE, MANIFEST, LiveCommands, Snapshot, live
from env.probe.tree import Tree
from env.redaction import LEFT_OUT, redacted
from env.runner import Completed, Runner, run

SUPERUSER = "/root"  # of any Linux machine (Filesystem Hierarchy Standard 3.0, section 3.14)
NOBODYS = ("", "/", SUPERUSER)  # homes that tell no user's name
HOME = "/home/user"
_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "opt", "proc", "run", "sbin", "sys", "tmp", "usr", "var")
_ADDRESSED = re.compile(r"\s*@\s*\S+")  # of a requirement: where it is fetched from, with who may
_METADATA = ("Metadata-Version:", "Name:", "Version:", "Requires-Dist:", "Requires-Python:", "Provides-Extra:")
_ADDRESS = re.compile(r"(?<![\w.:-])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]{3,45})(?![\w.:])")
_MAC = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}(?![\w:])")
_SERIAL = re.compile(r"^([^:\n]*\b(?:serial|sn|uuid|vdie)\b[^:\n]*:)[^\n]*", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Scrubber:
    """Replaces what tells whose machine this is. Names that are also names of the vendor's files are not replaced."""

    home: str
    names: Mapping[str, str]  # name -> what stands in its place
    folders: Mapping[str, str] = field(default_factory=dict)  # whole folders, likewise

    def text(self, text: str) -> str:
        text = redacted(text)
        for folder, stand_in in self.folders.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(folder)}(?![\w.-])", stand_in, text)
        if self.home not in (*NOBODYS, HOME):
            text = re.sub(rf"{re.escape(self.home)}(?![\w.-])", HOME, text)
        for name, stand_in in self.names.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", stand_in, text)
        return text

    def output(self, text: str) -> str:
        """What a command printed: addresses and serial numbers too. Versions look like addresses, so a line that
        speaks of a version keeps its dotted numbers.
        """
        text = _SERIAL.sub(rf"\1 {LEFT_OUT}", _MAC.sub(LEFT_OUT, text))
        lines = [line if "version" in line.lower() else _ADDRESS.sub(_hide, line) for line in text.split("\n")]
        return self.text("\n".join(lines))

    def value(self, value: Any) -> Any:
        """Plain JSON with every string in it scrubbed."""
        if isinstance(value, str):
            return self.output(value)
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _hide(match: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return match[0]  # a time, a bus id
    return match[0] if address.is_unspecified else LEFT_OUT


def folders_of(environ: Mapping[str, str], home: str) -> dict[str, str]:
    """Folders that variables name outside the system's own: they tell of users and servers. The longest first.

    The same stand-in takes a folder's place wherever it is written, so that a variable still leads to its files.
    """
    own = (*(f"/{name}/" for name in _SYSTEM), f"{home if home not in ('', '/') else SUPERUSER}/")
    entries = {part.rstrip("/") for value in environ.values() for part in re.split(r"[:\s]", value)}
    others = {
        entry for entry in entries if entry.count("/") > 1 and entry[0] == "/" and not f"{entry}/".startswith(own)
    }
    others |= {"/".join(entry.split("/")[:3]) for entry in others}
    ordered = sorted(others, key=lambda entry: (-len(entry), entry))
    return {entry: f"/{LEFT_OUT}/{number}" for number, entry in enumerate(ordered, start=1)}


def scrubber(tree: Tree, home: str, user: str, host: str, environ: Mapping[str, str] | None = None) -> Scrubber:
    """A scrubber for this machine's names; short ones and those that occur in the paths of the capture are kept."""
    paths = [path.removeprefix(home) for path in (*tree.kinds, *tree.links)]
    words = {part for path in paths for part in path.split("/")} | {*packages.MODULES, "root", "user", "localhost"}
    names = {host: "host", host.partition(".")[0]: "host", user: "user"}
    kept = {name: stand_in for name, stand_in in names.items() if len(name) > 2 and name not in words}
    return Scrubber(home, kept, folders_of(environ or {}, home))


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env capture",
        description=_(
            "Capture what the probe looks at on this machine, without secrets, host or user names. "
            "Elsewhere: unpack it, then python -m env audit --root DIR."
        ),
    )
    parser.add_argument("out", metavar="OUT.tar.gz")
    parser.add_argument("--site", metavar="DIR", action="append", default=[], help=_("site-packages to look into"))
    arguments = parser.parse_args(argv)
    for line in capture(Path(arguments.out), sites=arguments.site or None):
        print(translate(line))
    return 0


def capture(
    out: Path,
    *,
    root: Path | str = "/",
    runner: Runner = run,
    environ: Mapping[str, str] | None = None,
    sites: Sequence[str] | None = None,
) -> list[str]:
    """Write a capture of this machine and return what to tell the user about it, a message a line.

    Raises:
        StorageError: the file cannot be written.
    """
    environ = os.environ if environ is None else environ
    tree, snapshot, commands = Tree(root), live(environ, sites), LiveCommands(runner, environ)
    host = collect(tree, snapshot, commands)
    clean = scrubber(tree, snapshot.home, _user(), socket.gethostname(), snapshot.environ)
    members = dict(_members(tree, replace(snapshot, unread=host.unread), commands.done, clean))
    if not out.parent.is_dir():  # a mistyped folder is not made
        raise storage_error(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), out)
    with replacing(out) as temporary, tarfile.open(temporary, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(members):
            _add(archive, name, members[name])
    return _summary(out, tree, snapshot, commands.done, clean)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


@dataclass(frozen=True)
class _Link:
    target: str


def _members(
    tree: Tree, snapshot: Snapshot, done: Mapping[str, Completed], clean: Scrubber
) -> Iterator[tuple[str, str | _Link | None]]:
    """Name in the archive -> its text, a link, or None for a folder. A file that was only seen is empty."""
    for path, kind in tree.kinds.items():
        if path == "/":
            continue
        text = clean.text(_shortened(path, tree.texts.get(path, ""))) if kind == "file" else None
        yield clean.text(path).lstrip("/"), text
    for path, target in tree.links.items():
        # Relative links stay inside the folder that a capture is unpacked to.
        relative = posixpath.relpath(target, posixpath.dirname(path)) if target.startswith("/") else target
        yield clean.text(path).lstrip("/"), _Link(clean.text(relative))
    manifest = clean.value(asdict(snapshot)) | {"commands": {name: each.returncode for name, each in done.items()}}
    manifest["home"] = HOME if clean.home not in NOBODYS else clean.home
    yield f"{CAPTURE}/{MANIFEST}", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    for name, each in done.items():
        yield f"{CAPTURE}/commands/{name}.txt", clean.output(each.stdout)
        if each.stderr:
            yield f"{CAPTURE}/commands/{name}.err.txt", clean.output(each.stderr)


def _shortened(path: str, text: str) -> str:
    """Package metadata without authors, addresses and descriptions; of RECORD, the files that are looked for."""
    name = posixpath.basename(path)
    if name in ("METADATA", "PKG-INFO") or name.endswith(".egg-info"):
        head = text.partition("\n\n")[0].splitlines()
        return "".join(f"{_ADDRESSED.sub('', line)}\n" for line in head if line.startswith(_METADATA))
    if name == "WHEEL":
        return "".join(f"{line}\n" for line in text.splitlines() if line.startswith("Tag:"))
    if name == "RECORD":
        return "".join(f"{line},,\n" for line in packages.listed(text))
    return text


def _add(archive: tarfile.TarFile, name: str, content: str | _Link | None) -> None:
    """Add one member that says nothing of who made it, or when."""
    member = tarfile.TarInfo(name)
    if isinstance(content, _Link):
        member.type, member.linkname = tarfile.SYMTYPE, content.target
        archive.addfile(member)
    elif content is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
    else:
        data = content.encode("utf-8", "replace")
        member.size, member.mode = len(data), 0o644
        archive.addfile(member, io.BytesIO(data))


def _summary(out: Path, tree: Tree, snapshot: Snapshot, done: Mapping[str, Completed], clean: Scrubber) -> list[str]:
    read = sorted(path for path in tree.texts if not path.endswith((".dist-info/METADATA", "/WHEEL", "/RECORD")))
    names = ", ".join
    size = out.stat().st_size / 1024
    below_sys = sum("/sys/" in path for path in read)
    return [
        _("wrote {file}: {size:.0f} KiB", file=str(out), size=size),
        _("it holds:"),
        _("  the text of {count} files:", count=len(read)),
        *(f"    {clean.text(path)}" for path in read if "/sys/" not in path),
        _("    and {count} under /sys (PCI ids, memory limits)", count=below_sys),
        _(
            "  {count} files of package metadata, cut down to names, versions, requirements and tags",
            count=len(tree.texts) - len(read),
        ),
        _(
            "  the names of {count} more files and folders, and {links} links",
            count=len(tree.kinds) - len(tree.texts),
            links=len(tree.links),
        ),
        _("  what {count} commands printed: {names}", count=len(done), names=names(sorted(done)) or _("none")),
        _(
            "  {count} variables: {names}",
            count=len(snapshot.environ),
            names=names(sorted(snapshot.environ)) or _("none"),
        ),
        _(
            "  {count} device nodes, disks, user and group numbers, interpreter",
            count=len(snapshot.nodes),
        ),
        _("left out or replaced: every other variable, host and user name, home folder, addresses, serial numbers"),
    ]
