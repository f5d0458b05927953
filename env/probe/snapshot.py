"""What a machine answers rather than holds in files: its user, nodes, disks, interpreter, variables, commands.

A live machine answers itself; a captured one has the answers in .capture/. Either way the probe reads one `Snapshot`
and calls one `Commands`.
"""

from __future__ import annotations

import contextlib
import grp
import os
import platform
import re
import shutil
import site
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from env import elsewhere
from env.language import _, as_message
from env.probe.host import Disk, Node, Python, Unread, User
from env.probe.tree import Tree
from env.runner import Completed, Runner
from env.stack import ROOT

CAPTURE = ".capture"
MANIFEST = "manifest.json"
SCHEMA = 1
NOT_CAPTURED = -1  # the return code of a command that a capture does not hold

# Only these variables are ever looked at, kept or shown: any other may hold a secret.
VARIABLES = re.compile(
    r"(ASCEND_(HOME|TOOLKIT_HOME|OPP|AICPU|CUSTOM_OPP|RUNTIME|COMPILER|HCCL|LATEST_INSTALL)(_PATH)?"
    r"|ASCEND_(VISIBLE_DEVICES|RT_VISIBLE_DEVICES|RUNTIME_OPTIONS|LAUNCH_BLOCKING|DEVICE_ID)"
    r"|ATB_HOME_PATH|TOOLCHAIN_HOME|LD_LIBRARY_PATH|LD_PRELOAD|PYTHONPATH|TORCH_DEVICE_BACKEND_AUTOLOAD"
    r"|PYTORCH_NPU_ALLOC_CONF|CONDA_PREFIX|VIRTUAL_ENV|OMP_NUM_THREADS|container)\Z"
)
_GROUPS = re.compile(r"Hw[A-Z]\w*\Z")  # HwHiAiUser, HwDmUser, HwBaseUser: no other group name is anybody's business
_NODES = ("davinci*", "vdavinci*", "devmm_svm", "hisi_hdc")


@dataclass(frozen=True)
class Snapshot:
    """The answers of one machine."""

    machine: str
    python: Python
    kernel: str = ""
    libc: str | None = None
    cpus: int | None = None
    user: User = field(default_factory=User)
    environ: dict[str, str] = field(default_factory=dict)
    kubernetes: bool = False
    home: str = ""
    folder: str = ""  # the working folder: an `import` there sees its sub-folders first
    sites: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    disks: tuple[Disk, ...] = ()
    unread: tuple[Unread, ...] = ()  # what the user who captured the machine could not read
    schema: int = SCHEMA


MOST_LISTED = 1024  # folders of packages, device nodes: a machine of 16 cards has some 40
LONGEST_VALUE = 131_072  # bytes of a variable: MAX_ARG_STRLEN, execve(2)


class Commands(Protocol):
    """Runs an outside command by name, or finds what it printed when the machine was captured."""

    def __call__(self, name: str, args: Sequence[str], *, timeout: float) -> Completed: ...


class LiveCommands:
    """Commands of this machine through the runner; `done` keeps what each printed, for a capture."""

    def __init__(self, runner: Runner, environ: Mapping[str, str]) -> None:
        self.runner = runner
        self.environ = environ
        self.done: dict[str, Completed] = {}

    def __call__(self, name: str, args: Sequence[str], *, timeout: float) -> Completed:
        self.done[name] = self.runner(args, timeout=timeout, environ=self.environ)
        return self.done[name]


class CapturedCommands:
    """What the commands of a captured machine printed: .capture/commands/NAME.txt, and .err.txt beside it."""

    def __init__(self, tree: Tree, codes: Mapping[str, int]) -> None:
        self.tree = tree
        self.codes = codes

    def __call__(self, name: str, args: Sequence[str], *, timeout: float) -> Completed:
        if name not in self.codes:
            return Completed(tuple(args), NOT_CAPTURED, stderr=f"{name}: not in the capture")
        texts = []
        for suffix in (".txt", ".err.txt"):
            texts.append(self.tree.read(f"/{CAPTURE}/commands/{name}{suffix}") or "")
        return Completed(tuple(args), self.codes[name], *texts)


def default_sites() -> tuple[str, ...]:
    """The site-packages that matter when none are named: the built environment's, else the base interpreter's."""
    for profile in ("npu", "host"):
        built = (ROOT / ".venvs" / profile / "lib").glob("python*/site-packages")
        if sites := sorted(str(path) for path in built):
            return tuple(sites)
    return tuple(site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]))


def python_of(sites: Sequence[str], running: Python) -> Python:
    """The interpreter that a site-packages belongs to, by its path; the running one where the path does not tell."""
    for folder in sites:
        match = re.search(r"/python(3\.[0-9]{1,3})/(site|dist)-packages\Z", folder.rstrip("/"))
        if match and not f"{running.version}.".startswith(f"{match[1]}."):
            return Python(match[1])
    return running


def live(environ: Mapping[str, str], sites: Sequence[str] | None) -> Snapshot:
    """What this machine answers. What it does not is left out."""
    sites = tuple(sites) if sites else default_sites()
    running = Python(platform.python_version(), platform.python_implementation(), sys.executable)
    return Snapshot(
        machine=platform.machine(),
        python=python_of(sites, running),
        kernel=platform.release(),
        libc=_libc(),
        cpus=os.cpu_count(),
        user=User(os.getuid(), tuple(os.getgroups()), _group_names()),
        environ={name: value for name, value in environ.items() if VARIABLES.match(name)},
        kubernetes="KUBERNETES_SERVICE_HOST" in environ,
        home=environ.get("HOME", ""),
        folder=_folder(),
        sites=sites,
        nodes=_nodes(),
        disks=_disks(),
    )


def captured(root: Path) -> tuple[Snapshot, CapturedCommands, str | None]:
    """The snapshot of a captured tree, its commands, and why the manifest could not be read (None where it was).

    A tree without a manifest (a mounted disk, a hand-copied folder) gives an empty snapshot: its files still count.
    """
    tree = Tree(root)  # its own: a capture's folder is no part of the machine, and no link of it leads out either
    empty = Snapshot(machine="", python=Python(""))
    try:
        text = tree.read(f"/{CAPTURE}/{MANIFEST}")
        if text is None:
            notes = tree.notes()
            return (
                empty,
                CapturedCommands(tree, {}),
                notes[0].why if notes else _("absent: only the files of the tree are known"),
            )
        value: Any = elsewhere.parse_json(text)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            schema = value.get("schema") if isinstance(value, dict) else value
            problem = _("schema {required} required, {schema} found", required=SCHEMA, schema=repr(schema))
            return empty, CapturedCommands(tree, {}), problem
        import msgspec  # only a capture needs it: a live machine is probed on the Python that has nox and no more

        codes = msgspec.convert(value.pop("commands", {}), dict[str, int])
        snapshot = msgspec.convert(value, Snapshot)
        for name, text in snapshot.environ.items():
            if len(text) > LONGEST_VALUE:
                return empty, CapturedCommands(tree, {}), _("{name} is longer than a variable can be", name=name)
        for name, listed in (("sites", snapshot.sites), ("nodes", snapshot.nodes), ("disks", snapshot.disks)):
            if len(listed) > MOST_LISTED:
                problem = _(
                    "{name} of {count}, at most {most} expected", name=name, count=len(listed), most=MOST_LISTED
                )
                return empty, CapturedCommands(tree, {}), problem
        return snapshot, CapturedCommands(tree, codes), None
    except (ValueError, RecursionError) as error:
        return empty, CapturedCommands(tree, {}), as_message(error.args[0] if error.args else str(error))


def _libc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None  # musl knows no such name


def _folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""  # it was removed under us


def _group_names() -> tuple[str, ...]:
    names = []
    for gid in {os.getgid(), *os.getgroups()}:
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return tuple(sorted(name for name in names if _GROUPS.match(name)))


def _nodes() -> tuple[Node, ...]:
    nodes = []
    for path in sorted(path for pattern in _NODES for path in Path("/dev").glob(pattern)):
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISCHR(status.st_mode):
            openable = os.access(path, os.R_OK | os.W_OK)
            nodes.append(Node(str(path), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, openable))
    return tuple(nodes)


def _disks() -> tuple[Disk, ...]:
    disks = []
    for use, path in ((_("environments"), str(ROOT)), (_("temporary"), "/tmp"), (_("shared memory"), "/dev/shm")):  # noqa: S108
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(path)
            disks.append(Disk(use, path, usage.total, usage.free))
    return tuple(disks)
