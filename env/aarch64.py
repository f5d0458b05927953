"""`nox -s aarch64`: audit, setup and level 1 on aarch64, as most Ascend hosts are, on any Linux.

debootstrap unpacks a Debian tree of that architecture below .cache; qemu runs its programs, one process at a time, on
this machine's kernel. All of it is done in a user namespace of its own: it takes no superuser, and what the kernel
learns there of aarch64 programs it knows nowhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from env.digest import file_sha256
from env.errors import HostError, storage_error
from env.language import _, translate
from env.options import MAIN_JOB, Option, main_job_parser, without
from env.runner import Runner, run
from env.stack import ROOT, this_machine

SUITE = "bookworm"  # of Python 3.11, which requirements/stack.toml supports
PACKAGES = "python3,python3-venv,ca-certificates,libgomp1"  # beside those that Debian calls required
QEMU = "qemu-aarch64-static"  # the static build: nothing of this machine's libraries is there inside the tree
TOOLS = {  # and Debian's package of each
    QEMU: "qemu-user-static",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "unshare": "util-linux",
    "mount": "mount",
    "chroot": "coreutils",
    "git": "git",
}
# What the kernel is told of aarch64 programs: the first bytes of one, of which count those of the mask (QEMU,
# scripts/qemu-binfmt-conf.sh). P: argv[0] is kept; F: qemu is opened now, from outside of the tree
# (kernel.org, admin-guide/binfmt-misc).
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
# A namespace has a table of such programs of its own since Linux 6.7 ("binfmt_misc: enable sandboxed mounts").
ENTER = """\
set -eu
tree=$1 results=$2 handler=$3
shift 3
mount --rbind /dev "$tree/dev"
mount --rbind /proc "$tree/proc"
mount --rbind /sys "$tree/sys"
mount --bind "$results" "$tree/bundle/results"
if ! chroot "$tree" /bin/true 2>/dev/null; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    printf %s "$handler" >/proc/sys/fs/binfmt_misc/register
fi
exec chroot "$tree" "$@"
"""
# debootstrap's second half would give files to users that the namespace does not have. Python needs none of it.
UNPACK = """\
set -eu
cd "$1"
for package in var/cache/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --no-same-owner --keep-directory-symlink --overwrite
done
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
"""
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
MAKING_S, COPYING_S, FIRST_S = 1800, 300, 120
RESULTS = ROOT / "results"  # the records lie with those of other runs
BUNDLE, NOX = "/bundle", "/nox"  # in the tree
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # where Debian has them
# What this machine knows of its network, and the tree not: its path here, first of those there are, and there.
NETWORK = {
    "/etc/resolv.conf": ("/etc/resolv.conf",),
    "/etc/hosts": ("/etc/hosts",),
    CERTIFICATES: (CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt"),
    "/etc/pip.conf": ("~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf"),
    "/etc/uv/uv.toml": ("~/.config/uv/uv.toml", "/etc/uv/uv.toml"),
}
PASSED_ON = ("PIP_", "UV_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

TREE = Option(
    "--tree",
    _("the folder of the aarch64 system, made where it is not there (3 GB with the environment)"),
    {"type": Path, "default": ROOT / ".cache" / "aarch64"},
)
MIRROR = Option("--mirror", _("where debootstrap takes Debian from (default: its own choice)"), {"metavar": "URL"})
CPU = Option(
    "--cpu",
    _("the processor that qemu plays; neoverse-n1 is much like a Kunpeng 920: float16 and dot products, no bfloat16"),
    {"default": "neoverse-n1"},
)
OWN = (TREE, MIRROR, CPU)

Call = Callable[[Sequence[str], Mapping[str, str]], int]


def _call(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command before the user's eyes, and return its exit code."""
    return subprocess.run(command, env=dict(environ), check=False).returncode


def steps(nox: Sequence[str], options: Sequence[str]) -> list[list[str]]:
    """What is tried, in this order: audit, setup, level 1. What the user says comes later, and wins."""
    return [
        [*nox, "-s", "audit"],
        [*nox, "-s", "setup", "--", "--profile", "host", *options],
        [*nox, "-s", "verify", "--", "--profile", "host", "--level", "1", *options],
    ]


def first_failure(commands: Iterable[Sequence[str]], environ: Mapping[str, str], call: Call) -> int:
    """Run the commands up to the first that fails; its exit code, or 0."""
    return next(filter(None, (call(command, environ) for command in commands)), 0)


def tool_path(environ: Mapping[str, str]) -> str:
    """Where the tools are looked for: Debian keeps two of them where only the superuser's PATH leads."""
    return os.pathsep.join((environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def lacking(environ: Mapping[str, str]) -> list[str]:
    """The tools that are not here."""
    return [tool for tool in TOOLS if shutil.which(tool, path=tool_path(environ)) is None]


def way_out(stderr: str) -> str:
    """What helps where the kernel lets no user make a namespace, or tell it of aarch64 programs; "" for all else."""
    if "unshare failed" in stderr or "uid_map" in stderr:
        return _(
            "sudo nox -s aarch64, or let users make namespaces: sysctl user.max_user_namespaces"
            " kernel.unprivileged_userns_clone kernel.apparmor_restrict_unprivileged_userns;"
            " in a container: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
        )
    if "binfmt_misc" in stderr:
        return _(
            "sudo modprobe binfmt_misc; before Linux 6.7, where only the superuser may tell the kernel of such"
            " programs: sudo apt-get install binfmt-support qemu-user-static"
        )
    if "CPU model" in stderr:
        return _("nox -s aarch64 -- --cpu max; the names that this qemu knows: {qemu} -cpu help", qemu=QEMU)
    return ""


@dataclass(frozen=True)
class Machine:
    """An aarch64 system in a folder, and how its programs are run here."""

    tree: Path
    mirror: str | None = None
    cpu: str = CPU.settings["default"]
    runner: Runner = run
    call: Call = _call
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def variables(self) -> dict[str, str]:
        """Of the tools: `container` keeps debootstrap from making device nodes, which no namespace may."""
        own = {"PATH": tool_path(self.environ), "container": "lxc", "TAR_OPTIONS": "--no-same-owner"}
        return {**self.environ, **own}

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` in the tree, with the variables that the tree's programs need."""
        qemu = shutil.which(QEMU, path=tool_path(self.environ)) or QEMU
        handler = f":{QEMU}:M::{MAGIC}:{MASK}:{qemu}:PF"
        variables = {name: value for name, value in self.environ.items() if name.startswith(PASSED_ON)}
        variables |= {name: CERTIFICATES for name in variables if name.endswith("_CERT")}
        variables |= {"PATH": f"{NOX}/bin:/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "QEMU_CPU": self.cpu}
        settings = [f"{name}={value}" for name, value in sorted(variables.items())]
        enter = [*NAMESPACE, "sh", "-c", ENTER, "sh", str(self.tree), str(RESULTS), handler]
        return [*enter, "/usr/bin/env", "-i", "-C", BUNDLE, *settings, *command]

    def make(self) -> None:
        """Unpack the tree, unless it is there: whole, since it is made under another name.

        Raises:
            HostError: debootstrap did not come to its end.
            StorageError: the folder cannot be written.
        """
        if self.tree.exists():
            return
        part = self.tree.with_name(self.tree.name + ".part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        except OSError as error:
            raise storage_error(error, part) from error
        print(translate(_("unpacking a Debian {suite} of aarch64 in {tree}", suite=SUITE, tree=self.tree)), flush=True)
        first = ["debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", SUITE]
        mirror = [self.mirror] if self.mirror else []
        for command in ([*first, str(part), *mirror], ["sh", "-c", UNPACK, "sh", str(part)]):
            done = self.runner([*NAMESPACE, *command], timeout=MAKING_S, environ=self.variables)
            if not done.ok:
                raise HostError(
                    _("no aarch64 system could be unpacked in {tree}", tree=self.tree),
                    why="\n".join((done.stderr + done.stdout).strip().splitlines()[-5:]),
                    next=way_out(done.stderr)
                    or _("nox -s aarch64 -- --mirror URL, with a mirror of Debian that this machine reaches"),
                )
        part.rename(self.tree)

    def furnish(self) -> None:
        """Put into the tree what of this machine and of this project it needs, as they are now.

        Raises:
            HostError: git does not know the project's files.
            StorageError: the tree cannot be written.
        """
        listed = self.runner(["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"], timeout=COPYING_S)
        if not listed.ok:
            raise HostError(
                _("git does not list the files of {folder}", folder=ROOT),
                why=listed.stderr.strip(),
                next=_("run it in a checkout"),
            )
        try:
            for target, places in NETWORK.items():
                here = [place for place in (Path(one).expanduser() for one in places) if place.is_file()]
                for source in here[:1]:
                    copy(source, Path(self.tree, target[1:]))
            RESULTS.mkdir(exist_ok=True)
            bundle = Path(self.tree, BUNDLE[1:])
            Path(bundle, RESULTS.name).mkdir(parents=True, exist_ok=True)
            for entry in bundle.iterdir():
                if entry.name not in (".venvs", RESULTS.name):  # what an earlier call built
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for name in filter(None, listed.stdout.split("\0")):
                if Path(ROOT, name).is_file():
                    copy(Path(ROOT, name), Path(bundle, name))
        except OSError as error:
            raise storage_error(error, self.tree) from error

    def prove(self) -> str:
        """The release of the tree's Python, which shows that aarch64 programs run here.

        Raises:
            HostError: they do not.
        """
        question = "import platform; print(platform.machine(), platform.python_version())"
        done = self.runner(self.inside(["/usr/bin/python3", "-c", question]), timeout=FIRST_S, environ=self.variables)
        machine, _space, release = done.stdout.strip().partition(" ")
        if done.ok and machine == "aarch64":
            return release
        raise HostError(
            _("aarch64 programs do not run here"),
            why=done.stderr.strip() or done.stdout.strip() or _("no answer"),
            next=way_out(done.stderr) or _("rm -r {tree}, then nox -s aarch64", tree=self.tree),
        )

    def install_nox(self) -> int:
        """Give the tree the locked nox, unless it has it; the exit code of what failed, or 0."""
        lock = "requirements/nox.txt"
        stamp, digest = Path(self.tree, NOX[1:], "lock"), file_sha256(ROOT / lock)
        if stamp.exists() and stamp.read_text(encoding="ascii") == digest:
            return 0
        pip = [f"{NOX}/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock]
        code = self._first_failure((["/usr/bin/python3", "-m", "venv", NOX], pip))
        if code == 0:
            stamp.write_text(digest, encoding="ascii")
        return code

    def walk(self, options: Sequence[str]) -> int:
        """Make the system, and run the steps in it; the exit code of the first that fails, or 0.

        Raises:
            HostError: a tool is lacking, or aarch64 programs do not run here.
        """
        if missing := lacking(self.environ):
            packages = dict.fromkeys(TOOLS[tool] for tool in missing)
            raise HostError(
                _("aarch64 is not tried here: {tools} missing", tools=", ".join(missing)),
                why=_("a system of another architecture is unpacked and run with these"),
                next="sudo apt-get install " + " ".join(packages),
            )
        self.make()
        self.furnish()
        release = self.prove()
        told = _("aarch64 ({cpu}), Python {release}, by {qemu}", cpu=self.cpu, release=release, qemu=QEMU)
        print(translate(told), flush=True)
        return self.install_nox() or self._first_failure(steps([f"{NOX}/bin/nox"], options))

    def _first_failure(self, commands: Iterable[Sequence[str]]) -> int:
        return first_failure(map(self.inside, commands), self.variables, self.call)


def copy(source: Path, target: Path) -> None:
    """Copy a file's text over another one, into folders that are made; a link in the way is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = main_job_parser(
        "python -m env aarch64",
        _("Audit, setup and level 1 on aarch64, by user-mode emulation. The options of setup and verify are theirs."),
        groups={**MAIN_JOB, "aarch64": OWN},
        own=("setup", "verify", "aarch64"),
    )
    options = parser.parse_args(argv)
    shared = without(argv, OWN)
    if this_machine() == "aarch64":
        return first_failure(steps([sys.executable, "-m", "nox"], shared), os.environ, _call)
    return Machine(options.tree, options.mirror, options.cpu).walk(shared)
