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
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from env import apart
from env.atomic import write_json
from env.doctor import diagnose
from env.errors import EnvironmentMissingError, InstallError, storage_error
from env.installer import Installer, Sources
from env.lock import pins
from env.runner import run
from env.stack import REQUIREMENTS, ROOT, load_stack, lock_path, this_machine

BUILDER = 1  # raise it when the way environments are made changes: every one is then made anew
STAMP = "ready.json"
VENVS = ROOT / ".venvs"
TOOLS_IMPORTS = ("jinja2", "msgspec", "packaging", "rich")
DEV_IMPORTS = ("pytest", "hypothesis", "mypy")  # beside the host profile's
LAST_LINES = 30
LAST_WORDS_S = 10.0  # how long an installer that was asked to end may take
IMPORTS_S = 900.0  # torch and transformers take 15 s on a warm disk; a network file system minutes

# Run in the new interpreter: import everything, print name -> version of all that is installed.
CHECK = """
import importlib, importlib.metadata, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
found = {}
for one in importlib.metadata.distributions():
    if one.metadata["Name"]:  # a half-removed one has none
        found.setdefault(one.metadata["Name"], one.version)  # the first on the path is what is imported
print(json.dumps(found, sort_keys=True))
"""


@dataclass(frozen=True)
class Plan:
    """One environment to be made: where, from which lock, what must import in it, what stands apart."""

    profile: str
    path: Path
    lock: Path
    imports: tuple[str, ...]
    apart: tuple[apart.Found, ...] = ()
    base_python: str = field(default_factory=lambda: os.path.realpath(sys.executable))

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def digest(self) -> str:
        """sha256 of everything that decides what the environment holds."""
        parts = [str(BUILDER), self.base_python, sys.version, self.lock.read_text(encoding="utf-8")]
        parts += [f"{found.name}=={found.found} {found.source} {found.sha256}" for found in self.apart]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def plan(profile: str, found: Sequence[apart.Found] = (), venvs: Path = VENVS) -> Plan:
    """The plan of "tools", "dev" or a declared profile on this machine and Python."""
    if profile == "tools":
        return Plan(profile, venvs / profile, REQUIREMENTS / "tools.txt", TOOLS_IMPORTS)
    lock = lock_path(profile)
    imports = load_stack().profiles["host" if profile == "dev" else profile].imports
    if profile == "dev":
        return Plan(profile, venvs / profile, lock, (*imports, *DEV_IMPORTS))
    if profile == "npu" and "ASCEND_HOME_PATH" in os.environ:
        imports = (*imports, "torch_npu")  # it loads CANN's libraries, so only where set_env.sh was sourced
    return Plan(profile, venvs / profile, lock, imports, tuple(found))


def read_stamp(path: Path) -> dict[str, Any] | None:
    """The stamp of an environment, or None where it is absent, damaged, or its interpreter is gone."""
    try:
        stamp = json.loads((path / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and (path / "bin" / "python").exists() else None


def require(profile: str, venvs: Path = VENVS) -> tuple[Path, dict[str, Any]]:
    """The interpreter and the stamp of a finished environment made from today's lock.

    Raises:
        EnvironmentMissingError: it is absent, unfinished, or made from another lock.
    """
    path = venvs / profile
    stamp = read_stamp(path)
    again = f"nox -s setup -- --profile {profile}"
    if stamp is None:
        why = "it was never built" if not path.exists() else "building it did not finish"
        raise EnvironmentMissingError(f"the {profile} environment is not there", why=why, next=again)
    if not is_built(profile, venvs):
        lock = plan(profile, venvs=venvs).lock.name
        changed = stamp.get("lock") == lock
        raise EnvironmentMissingError(
            f"the {profile} environment was built from another lock",
            why=f"{lock} changed since" if changed else f"it was {stamp.get('lock')}; this Python's is {lock}",
            next=again,
        )
    return path / "bin" / "python", stamp


def is_built(profile: str, venvs: Path = VENVS) -> bool:
    """Whether the environment stands, made from today's lock."""
    stamp = read_stamp(venvs / profile)
    return stamp is not None and stamp.get("lock_sha256") == lock_sha256(plan(profile, venvs=venvs).lock)


def lock_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(wanted: Plan, installer: Installer, sources: Sources, *, fresh: bool = False) -> tuple[dict[str, Any], bool]:
    """Make `wanted` unless it is current; return its stamp and whether anything was done.

    Raises:
        InstallError: the installer failed, or what it installed does not import.
        StorageError: the disk is full or the folder cannot be written.
    """
    if not fresh and (current := _current(wanted)) is not None:
        return current, False  # no lock file: the environment may be another user's, and not ours to write
    with _only_one(wanted.path):
        if not fresh and (current := _current(wanted)) is not None:
            return current, False
        try:
            if wanted.path.exists():
                (wanted.path / STAMP).unlink(missing_ok=True)  # first, so that a half-removed one is never taken
                shutil.rmtree(wanted.path)
            wanted.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, wanted.path) from error
        print(f"{wanted.profile}: making {wanted.path} with {installer.name}", flush=True)
        environ = installer.variables(sources)
        _stream(installer.venv_command(wanted.path, wanted.base_python), environ, "cannot make the environment")
        _install_locked(wanted, installer, sources)
        installed_apart = [_install_apart(found, wanted, installer, sources) for found in wanted.apart]
        packages = _check_imports(wanted)
        stamp = {
            "digest": wanted.digest(),
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "profile": wanted.profile,
            "python": sys.version.split()[0],
            "machine": this_machine(),
            "lock": wanted.lock.name,
            "lock_sha256": lock_sha256(wanted.lock),
            "installer": installer.name,
            "packages": packages,
            "apart": [found.as_record() for found in installed_apart],
            "planned": [asdict(found) for found in wanted.apart],
        }
        write_json(wanted.path / STAMP, stamp)
        return stamp, True


def _current(wanted: Plan) -> dict[str, Any] | None:
    """The stamp of an environment that was made from exactly what is wanted."""
    stamp = read_stamp(wanted.path)
    return stamp if stamp is not None and stamp.get("digest") == wanted.digest() else None


def standing(profile: str, venvs: Path = VENVS) -> tuple[apart.Found, ...]:
    """The pins that stand apart in an environment that is current with them; nothing where it is not."""
    stamp = read_stamp(venvs / profile) or {}
    try:
        found = tuple(apart.Found(**row) for row in stamp.get("planned", ()))
    except TypeError:
        return ()
    return found if stamp.get("digest") == plan(profile, found, venvs).digest() else ()


def tools_python(venvs: Path = VENVS) -> Path:
    """An interpreter with the locked tools: `.venvs/tools` where it stands, else the running one if it has them all.

    The second saves a download where requirements/nox.txt was installed.

    Raises:
        EnvironmentMissingError: neither has them.
    """
    wanted = plan("tools", venvs=venvs)
    if is_built("tools", venvs):
        return wanted.python
    if not missing_from(wanted.lock):
        return Path(sys.executable)
    raise EnvironmentMissingError("the tools environment is not there", next="nox -s setup")


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
            print(f"waiting for another build of {path.name} to end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            print(f"no other build of {path.name} may run meanwhile: {error.strerror}", flush=True)
        yield


def _stream(command: Sequence[str], variables: Mapping[str, str], failure: str) -> None:
    """Run an installer command, showing its output as it comes and keeping its last lines for the message."""
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
                raise storage_error(OSError(number, os.strerror(number)), VENVS)
        what = f"{failure}: {Path(command[0]).name} exited with {child.returncode}"
        raise InstallError(what, why=_cause(text), next=_remedy(text))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End an installer: asked first, so that it removes what it downloaded by half."""
    child.terminate()
    try:
        child.wait(LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _cause(text: str) -> str:
    """The installer's own last words, indented under our message."""
    lines = [line for line in text.splitlines() if line.strip()][-8:]
    return "\n        ".join(lines) or "the installer said nothing"


def _remedy(text: str) -> str:
    """What the doctor advises on the most fundamental failure that it knows in `text`."""
    known = diagnose(text)
    return f"{known[0].failure.fix} ({known[0].failure.id})" if known else ""


def _install_locked(wanted: Plan, installer: Installer, sources: Sources) -> None:
    """Install the lock.

    pip compares the wheels of all indexes. uv takes a version from the first index that has it, extra ones before the
    main one, whatever its wheel: a partial mirror may hold only one that lacks what this platform needs (soundfile's
    "none-any" wheel has no libsndfile). The hashes say what a file is, not where it is from, so uv asks the main index
    alone first, and all of them where that lacks a pin.
    """
    words = ["--require-hashes", "--requirement", str(wanted.lock)]

    def install(sources: Sources) -> None:
        command = installer.install_command(wanted.python, words, sources)
        _stream(command, installer.variables(sources), "the installation failed")

    if installer.name == "uv" and sources.extra_index_urls and not sources.offline:
        try:
            return install(replace(sources, extra_index_urls=()))
        except InstallError:
            print(f"{wanted.profile}: the main index alone does not do: asking the extra ones too", flush=True)
    return install(sources)


def _install_apart(found: apart.Found, wanted: Plan, installer: Installer, sources: Sources) -> apart.Found:
    """Install one pin that stands apart, without its dependencies; return it with the sha256 of what was installed."""
    print(f"{wanted.profile}: {found.name} {found.found} from {found.source} {found.place}".rstrip(), flush=True)
    if found.source == "base interpreter":
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        apart.copy_from_base(found, wanted.path / "lib" / python / "site-packages")
        return found
    with tempfile.TemporaryDirectory(prefix="apart-") as folder:
        if found.source == "index":
            found = apart.fetch(found, Path(folder), sources)
        words = ["--no-deps", found.place]
        command = installer.install_command(wanted.python, words, sources)
        _stream(command, installer.variables(sources), f"cannot install {found.name}")
    return found


def _check_imports(wanted: Plan) -> dict[str, str]:
    """Import the profile's packages in the new interpreter, and return what is installed in it."""
    environ = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = run([str(wanted.python), "-c", CHECK, *wanted.imports], timeout=IMPORTS_S, environ=environ)
    if not done.ok:
        ended = f"\nended by signal {-done.returncode}" if done.returncode < 0 else ""
        raise InstallError(
            f"the {wanted.profile} environment was installed but does not import",
            why=_cause(done.stderr + ended),
            next=_remedy(done.stderr) or "nox -s setup -- --fresh",
        )
    # Vendor libraries print as they load and as they leave.
    listing = [line for line in done.stdout.splitlines() if line.startswith("{")][-1]
    packages: dict[str, str] = json.loads(listing)
    return packages
