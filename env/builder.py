"""Makes the pinned environments, `.venvs/<profile>`: from a hashed lock, checked in the new interpreter, stamped last.

The stamp holds the sha256 of what the environment was made from, so a second build is a no-op, and one that was
interrupted leaves no stamp and is made anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.requirements import Requirement

from env import unlocked_pins
from env.atomic import write_json
from env.digest import file_sha256
from env.errors import EnvironmentMissingError, InstallError, storage_error
from env.installer import Installer, Sources, advice, last_lines
from env.language import _, translate
from env.lock import pins
from env.runner import run
from env.stack import REQUIREMENTS, ROOT, load_stack, lock_path, profile_and_stack, this_machine
from env.unlocked_pins import Installed, Located

BUILDER = 1  # raise it when the way environments are made changes: every one is then made anew
STAMP = "ready.json"
VENVS = ROOT / ".venvs"
TOOLS_IMPORTS = ("jinja2", "msgspec", "packaging", "rich")
DEV_IMPORTS = ("pytest", "hypothesis", "mypy")  # beside the host profile's
LAST_LINES = 30
LAST_WORDS_S = 4.0  # how long an installer may take to end after SIGTERM: less than env/ending.py leaves us
IMPORTS_S = 900.0  # torch and transformers take 15 s on a warm disk; a network file system minutes

# Run in the new interpreter: import everything, print name -> version of all that is installed.
CHECK = """
import importlib, importlib.metadata, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
versions = {}
for one in importlib.metadata.distributions():
    if one.metadata["Name"]:  # a half-removed one has none
        versions.setdefault(one.metadata["Name"], one.version)  # the first on the path is what is imported
print(json.dumps(versions, sort_keys=True))
"""


@dataclass(frozen=True)
class Plan:
    """One environment to be made: where, from which lock, what must import in it, which pins no lock holds."""

    profile: str  # with the stack, where it is not the declared one: env.stack.environment_name
    path: Path
    lock: Path
    imports: tuple[str, ...]
    unlocked: tuple[Located, ...] = ()
    base_python: str = field(default_factory=lambda: os.path.realpath(sys.executable))

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def digest(self) -> str:
        """sha256 of everything that decides what the environment holds."""
        parts = [str(BUILDER), self.base_python, sys.version, self.lock.read_text(encoding="utf-8")]
        parts += [f"{pin.name}=={pin.version} {pin.source} {pin.sha256}" for pin in self.unlocked]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Stamp(msgspec.Struct, frozen=True):
    """ready.json: what an environment was made from, and what is in it. An older one may lack fields."""

    digest: str = ""
    made: str = ""  # UTC, ISO 8601
    profile: str = "host"
    stack: str = ""  # "" is the declared one
    python: str = ""
    machine: str = ""
    lock: str | None = None  # its file's name
    lock_sha256: str = ""
    installer: str = ""
    packages: dict[str, str] = {}
    apart: tuple[Installed, ...] = ()  # the pins that no lock holds
    planned: tuple[Located, ...] = ()  # those, as they were located before they were installed


class Built(NamedTuple):
    """The stamp of an environment, and whether it was made just now."""

    stamp: Stamp
    anew: bool


def plan(profile: str, unlocked: Sequence[Located] = (), venvs: Path = VENVS) -> Plan:
    """The plan of "tools", "dev" or a declared profile on this machine and Python."""
    if profile == "tools":
        return Plan(profile, venvs / profile, REQUIREMENTS / "tools.txt", TOOLS_IMPORTS)
    lock = lock_path(profile)
    base = profile_and_stack(profile)[0]
    imports = load_stack().profiles["host" if base == "dev" else base].imports
    if profile == "dev":
        return Plan(profile, venvs / profile, lock, (*imports, *DEV_IMPORTS))
    if base == "npu" and "ASCEND_HOME_PATH" in os.environ:
        imports = (*imports, "torch_npu")  # it loads CANN's libraries, so only where set_env.sh was sourced
    return Plan(profile, venvs / profile, lock, imports, tuple(unlocked))


def read_stamp(path: Path) -> Stamp | None:
    """The stamp of an environment, or None where it is absent, damaged, or its interpreter is gone."""
    try:
        stamp = msgspec.json.decode((path / STAMP).read_bytes(), type=Stamp)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return stamp if (path / "bin" / "python").exists() else None


def require(profile: str, venvs: Path = VENVS) -> tuple[Path, Stamp]:
    """The interpreter and the stamp of a finished environment made from today's lock.

    Raises:
        EnvironmentMissingError: it is absent, unfinished, or made from another lock.
    """
    path = venvs / profile
    stamp = read_stamp(path)
    base, stack = profile_and_stack(profile)
    again = f"nox -s setup -- --profile {base}" + (f" --stack {stack}" if stack else "")
    if stamp is None:
        raise EnvironmentMissingError(
            _("the {profile} environment is not there", profile=profile),
            why=_("building it did not finish") if path.exists() else _("it was never built"),
            next=again,
        )
    if not is_built(profile, venvs):
        lock = plan(profile, venvs=venvs).lock.name
        raise EnvironmentMissingError(
            _("the {profile} environment was built from another lock", profile=profile),
            why=_("{lock} changed since", lock=lock)
            if stamp.lock == lock
            else _("it was {other}; this Python's is {lock}", other=stamp.lock, lock=lock),
            next=again,
        )
    return path / "bin" / "python", stamp


def is_built(profile: str, venvs: Path = VENVS) -> bool:
    """Whether the environment stands, made from today's lock."""
    stamp, lock = read_stamp(venvs / profile), plan(profile, venvs=venvs).lock
    return stamp is not None and lock.exists() and stamp.lock_sha256 == file_sha256(lock)


def build(target: Plan, installer: Installer, sources: Sources, *, fresh: bool = False) -> Built:
    """Make an environment unless it is current.

    Raises:
        InstallError: the installer failed, or what it installed does not import.
        StorageError: the disk is full or the folder cannot be written.
    """
    if not fresh and (current := _current(target)) is not None:
        return Built(current, anew=False)  # no lock file: the environment may be another user's, and not ours to write
    with _only_one(target.path):
        if not fresh and (current := _current(target)) is not None:
            return Built(current, anew=False)
        _remove(target)
        _report(
            _(
                "{profile}: making {path} with {installer}",
                profile=target.profile,
                path=str(target.path),
                installer=installer.name,
            )
        )
        _make_venv(target, installer, sources)
        _install_locked(target, installer, sources)
        pins_installed = [_install_unlocked(pin, target, installer, sources) for pin in target.unlocked]
        stamp = Stamp(
            digest=target.digest(),
            made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            profile=profile_and_stack(target.profile)[0],
            stack=profile_and_stack(target.profile)[1],
            python=sys.version.split()[0],
            machine=this_machine(),
            lock=target.lock.name,
            lock_sha256=file_sha256(target.lock),
            installer=installer.name,
            packages=_check_imports(target),
            apart=tuple(map(unlocked_pins.installed, pins_installed)),
            planned=target.unlocked,
        )
        write_json(target.path / STAMP, msgspec.to_builtins(stamp))
        return Built(stamp, anew=True)


def _make_venv(target: Plan, installer: Installer, sources: Sources) -> None:
    variables, failure = installer.variables(sources), _("cannot make the environment")
    try:
        _stream(installer.venv_command(target.path, target.base_python), variables, failure, target.path)
    except InstallError:
        # python -m venv keeps to itself what ensurepip said (CPython, Lib/venv/__init__.py, _setup_pip): a full disk.
        if installer.name == "pip" and target.python.exists():
            command = [str(target.python), "-m", "ensurepip", "--upgrade", "--default-pip"]
            _stream(command, variables, failure, target.path)
        raise


def _remove(target: Plan) -> None:
    try:
        if target.path.exists():
            (target.path / STAMP).unlink(missing_ok=True)  # first, so that a half-removed one is never taken
            shutil.rmtree(target.path)
        target.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, target.path) from error


def _report(message: str) -> None:
    """Show how far it is, in the user's language."""
    print(translate(message).rstrip(), flush=True)


def _current(target: Plan) -> Stamp | None:
    """The stamp of an environment that was made from exactly what is planned."""
    stamp = read_stamp(target.path)
    return stamp if stamp is not None and stamp.digest == target.digest() else None


def standing(profile: str, venvs: Path = VENVS) -> tuple[Located, ...]:
    """The unlocked pins of an environment that is current with them; nothing where it is not."""
    stamp = read_stamp(venvs / profile)
    if stamp is None or stamp.digest != plan(profile, stamp.planned, venvs).digest():
        return ()
    return stamp.planned


def tools_python(venvs: Path = VENVS) -> Path:
    """An interpreter with the locked tools: `.venvs/tools` where it stands, else the running one if it has them all.

    The second saves a download where requirements/nox.txt was installed.

    Raises:
        EnvironmentMissingError: neither has them.
    """
    target = plan("tools", venvs=venvs)
    if is_built("tools", venvs):
        return target.python
    if not missing_from(target.lock):
        return Path(sys.executable)
    raise EnvironmentMissingError(_("the {profile} environment is not there", profile="tools"), next="nox -s setup")


def missing_from(lock: Path) -> list[Requirement]:
    """The pins of a lock that the running interpreter does not have installed at that version."""
    missing = []
    for requirement in pins(lock):
        try:
            fits = requirement.specifier.contains(version(requirement.name), prereleases=True)
        except PackageNotFoundError:
            fits = False
        if not fits:
            missing.append(requirement)
    return missing


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the environment's lock file, so that two builds of it never mix."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = (path.parent / f".{path.name}.lock").open("w")
    except OSError as error:
        raise storage_error(error, path.parent) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _report(_("waiting for another build of {name} to end", name=path.name))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            _report(_("no other build of {name} may run meanwhile: {reason}", name=path.name, reason=error.strerror))
        yield


def _stream(command: Sequence[str], variables: Mapping[str, str], failure: str, path: Path) -> None:
    """Run an installer command that writes below `path`, showing its output as it comes and keeping its last lines for
    the message.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    environ = {**variables, **os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environ
    ) as child:
        assert child.stdout is not None
        try:
            for raw in child.stdout:
                line = raw.decode("utf-8", "replace")
                last.append(line.rstrip())
                print(line, end="", flush=True)
        except BaseException:
            _end(child)  # or it would go on writing into an environment that the next build removes
            raise
    if child.returncode != 0:
        text = "\n".join(last)
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in text or f"os error {number}" in text:
                raise storage_error(OSError(number, os.strerror(number)), path)
        program = Path(command[0]).name
        what = _("{failure}: {program} exited with {code}", failure=failure, program=program, code=child.returncode)
        raise InstallError(what, why=last_lines(text), next=advice(text))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End an installer: by SIGTERM first, so that it removes what it downloaded by half."""
    child.terminate()
    try:
        child.wait(LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _install_locked(target: Plan, installer: Installer, sources: Sources) -> None:
    requirements = ["--require-hashes", "--requirement", str(target.lock)]

    def install(attempt: Sources) -> None:
        command = installer.install_command(target.python, requirements, attempt)
        _stream(command, installer.variables(attempt), _("the installation failed"), target.path)

    *attempts, last = installer.attempts(sources)
    for attempt in attempts:
        try:
            return install(attempt)
        except InstallError:
            _report(_("{profile}: the main index alone does not do: asking the extra ones too", profile=target.profile))
    return install(last)


def _install_unlocked(pin: Located, target: Plan, installer: Installer, sources: Sources) -> Located:
    """Install one pin that no lock holds, without its dependencies; return it with the sha256 of what was installed."""
    _report(
        _(
            "{profile}: {name} {version} from {source} {place}",
            profile=target.profile,
            name=pin.name,
            version=pin.version,
            source=pin.source,
            place=pin.place,
        )
    )
    if pin.source == "base interpreter":
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        unlocked_pins.copy_from_base(pin, target.path / "lib" / python / "site-packages")
        return pin
    with tempfile.TemporaryDirectory(prefix="unlocked-") as folder:
        if pin.source == "index":
            pin = unlocked_pins.fetch(pin, Path(folder), sources)
        command = installer.install_command(target.python, ["--no-deps", pin.place], sources)
        _stream(command, installer.variables(sources), _("cannot install {name}", name=pin.name), target.path)
    return pin


def _check_imports(target: Plan) -> dict[str, str]:
    """Import the profile's packages in the new interpreter, and return what is installed in it."""
    environ = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = run([str(target.python), "-c", CHECK, *target.imports], timeout=IMPORTS_S, environ=environ)
    if not done.ok:
        ended = f"\nended by signal {-done.returncode}" if done.returncode < 0 else ""
        raise InstallError(
            _("the {profile} environment was installed but does not import", profile=target.profile),
            why=last_lines(done.stderr + ended),
            next=advice(done.stderr + ended) or "nox -s setup -- --fresh",
        )
    # Vendor libraries print as they load and as they leave.
    listing = [line for line in done.stdout.splitlines() if line.startswith("{")][-1]
    packages: dict[str, str] = json.loads(listing)
    return packages
