"""Builds the emulated NPU: the real torch-npu wheel in a folder of its own, over CANN libraries compiled on the spot.

The libraries are libascendcl.so (acl.c, plus a stub that returns an error for each further symbol the wheel misses)
and, for every other library that the wheel links, an empty one. What is missing is read from the installed wheel with
nm, so no list of symbols is kept.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from env.atomic import write_json
from env.errors import BundleError, HostError, InstallError, PythonVersionError, UsageError
from env.installer import find_uv
from env.language import _
from env.runner import Runner, run
from env.stack import ROOT

from .guard import RUNTIME, real_npu
from .options import WHEELS, releases

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "acl.c"
PARTS = (HERE / "plog.h", HERE / "streams.h", HERE / "stress.h")  # of it
STAMP = "emulator.json"
PLATFORM = ("linux", "x86_64")
TOOLS = ("gcc", "nm", "objdump")
# Looked up by name at run time (dlopen), so that nothing in the wheel's link table tells of them.
OPENED_LATER = ("libopapi.so", "libnnopbase.so", "libascend_ml.so")
SYSTEM = ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "libpthread.so.0",
          "libdl.so.2", "librt.so.1")  # fmt: skip
TORCH = ("libtorch.so", "libtorch_cpu.so", "libtorch_python.so", "libc10.so", "libshm.so")
NOT_SUPPORTED = 207000  # ACL_ERROR_RT_FEATURE_NOT_SUPPORT
ASK = """
import importlib.util, json, sys
torch = importlib.util.find_spec("torch")
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "torch": torch and torch.submodule_search_locations[0]}))
"""


@dataclass(frozen=True)
class Emulator:
    """A built emulator: `packages` goes on PYTHONPATH, `libraries` holds the stand-in CANN."""

    folder: Path

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def libraries(self) -> Path:
        return self.folder / "lib"


@dataclass(frozen=True)
class Interpreter:
    """The Python that will run emulated programs, and the folder of its torch package."""

    executable: str
    version: str
    torch: Path


def build(python: str, release: str, folder: Path | None = None, *, runner: Runner = run) -> Emulator:
    """Build the emulator for `python`, or find it built. About 3 s once the wheel is cached.

    Without a `folder` it goes under .cache, in one of its own for each release, Python version and torch.

    Raises:
        UsageError: `release` is not pinned here.
        HostError: not Linux on x86_64, or no gcc or nm.
        PythonVersionError: `python` has no torch, or does not run.
        InstallError: the wheel could not be installed or the libraries not compiled.
    """
    if release not in releases():
        raise UsageError(
            _("torch-npu {release} is not pinned for the emulator", release=release),
            next=_("one of: {releases}", releases=", ".join(releases())),
        )
    elsewhere = _other_platform()
    if elsewhere is not None:
        raise HostError(elsewhere, why=_("the pinned wheels are for that platform"))
    interpreter = _interpreter(python, runner)
    emulator = Emulator((folder or _default_folder(interpreter, release)).absolute())
    stamp = _stamp(interpreter, release)
    if _read(emulator.folder / STAMP) == stamp:
        return emulator
    shutil.rmtree(emulator.folder, ignore_errors=True)
    emulator.libraries.mkdir(parents=True)
    _install(interpreter, release, emulator.packages, runner)
    _compile(interpreter, emulator, runner)
    write_json(emulator.folder / STAMP, stamp)  # last: an interrupted build leaves none and is repeated
    return emulator


def unavailable() -> str | None:
    """Why this machine cannot run the emulated NPU, as a sentence; None where it can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return _other_platform() or (_("{tools} missing", tools=", ".join(missing)) if missing else real_npu())


def _other_platform() -> str | None:
    here = (sys.platform, platform.machine())
    if here == PLATFORM:
        return None
    return _("the emulated NPU runs on Linux x86_64 only, not on {platform}", platform=" ".join(here))


def _interpreter(python: str, runner: Runner) -> Interpreter:
    done = runner([python, "-c", ASK], timeout=60)
    if not done.ok:
        raise PythonVersionError(_("{python} does not run", python=python), why=done.stderr.strip())
    answer = json.loads(done.stdout)
    if answer["torch"] is None:
        raise PythonVersionError(
            _("{python} has no torch", python=python), next=_("nox -s setup, then name the environment's python")
        )
    return Interpreter(python, answer["python"], Path(answer["torch"]))


def _default_folder(interpreter: Interpreter, release: str) -> Path:
    torch = hashlib.sha256(str(interpreter.torch).encode()).hexdigest()[:8]
    return ROOT / ".cache" / "npu-emulator" / f"{release}-py{interpreter.version.replace('.', '')}-{torch}"


def _stamp(interpreter: Interpreter, release: str) -> dict[str, str]:
    sources = (SOURCE, *PARTS, Path(__file__), WHEELS / f"torch-npu-{release}.txt")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return {
        "torch_npu": release,
        "python": interpreter.version,
        "torch": str(interpreter.torch),
        "sources_sha256": digest,
    }


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _install(interpreter: Interpreter, release: str, target: Path, runner: Runner) -> None:
    # Without its dependencies: the x86_64 wheel asks for a torch build that PyPI does not have.
    requirements = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target)]
    requirements += ["--requirement", str(WHEELS / f"torch-npu-{release}.txt")]
    if uv := find_uv():
        command = [uv, "pip", "install", "--quiet", "--python", interpreter.executable, *requirements]
    else:
        command = [interpreter.executable, "-m", "pip", "install", "--quiet", *requirements]
    done = runner(command, timeout=600)
    if not done.ok:
        raise InstallError(
            _(
                "torch-npu {release} could not be installed for Python {python}",
                release=release,
                python=interpreter.version,
            ),
            why=done.stderr.strip()[-800:],
            next=_("check the package index (env: UV_INDEX_URL, PIP_INDEX_URL), then run the same command again"),
        )


def _compile(interpreter: Interpreter, emulator: Emulator, runner: Runner) -> None:
    wheel = emulator.packages / "torch_npu"
    binaries = [*(wheel / "lib").glob("libtorch_npu.so"), *(wheel / "lib").glob("libnpu_profiler.so")]
    binaries += [*(wheel / "lib").glob("libtensorpipe.so"), *wheel.glob("_C*.so")]
    torch = interpreter.torch / "lib"
    known = [torch / name for name in TORCH] + [Path(_tool(runner, "gcc", f"-print-file-name={n}")) for n in SYSTEM]

    runtime = emulator.libraries / "acl.o"
    headers = wheel / "include" / "third_party" / "acl" / "inc"
    # The wheel's headers are C++: `constexpr` is all that keeps a C compiler from reading them.
    _tool(runner, "gcc", "-c", "-O1", "-fPIC", "-fvisibility=hidden", "-DFUNC_VISIBILITY", "-Dconstexpr=static const",
          "-I", str(headers), "-I", str(HERE), "-o", str(runtime), str(SOURCE))  # fmt: skip

    defined = _symbols(runner, [*known, *binaries, runtime], "--defined-only")
    missing = {name for name in _symbols(runner, binaries, "--undefined-only") - defined if not _python_api(name)}
    stubs = emulator.libraries / "stubs.c"
    stubs.write_text(_stub_source(sorted(missing)), encoding="utf-8")
    library = emulator.libraries / RUNTIME
    _tool(runner, "gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{RUNTIME}", "-o", str(library), str(runtime),
          str(stubs), "-lpthread")  # fmt: skip

    empty = emulator.libraries / "empty.c"
    empty.write_text("int npu_emulator_empty;\n", encoding="utf-8")
    present = {path.name for path in [*binaries, *known]}
    for name in sorted((_needed(runner, binaries) | set(OPENED_LATER)) - present - {RUNTIME}):
        _tool(runner, "gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-Wl,--no-as-needed",
              "-o", str(emulator.libraries / name), str(empty), str(library))  # fmt: skip


def _python_api(symbol: str) -> bool:
    return symbol.startswith(("Py", "_Py"))


def _stub_source(symbols: Iterable[str]) -> str:
    lines = ["#include <stdio.h>"]
    for symbol in symbols:
        message = f"npu emulator: {symbol} is not emulated"
        lines.append(f'long {symbol}(void) {{ fputs("{message}\\n", stderr); return {NOT_SUPPORTED}; }}')
    return "\n".join(lines) + "\n"


def _symbols(runner: Runner, binaries: Iterable[Path], which: str) -> set[str]:
    """Names in the (dynamic, for libraries) symbol tables of `binaries`; weak undefined ones need no definition."""
    names: set[str] = set()
    for binary in binaries:
        dynamic = [] if binary.suffix == ".o" else ["--dynamic"]
        for line in _tool(runner, "nm", *dynamic, which, str(binary)).splitlines():
            *_, kind, name = line.split()
            if kind != "w":
                names.add(name.partition("@")[0])
    return names


def _needed(runner: Runner, binaries: Iterable[Path]) -> set[str]:
    """Names of the libraries that `binaries` link (DT_NEEDED)."""
    names: set[str] = set()
    for binary in binaries:
        for line in _tool(runner, "objdump", "-p", str(binary)).splitlines():
            if line.split()[:1] == ["NEEDED"]:
                names.add(line.split()[1])
    return names


def _tool(runner: Runner, name: str, *arguments: str) -> str:
    done = runner([name, *arguments], timeout=120)
    if done.returncode == 127:
        raise HostError(
            _("{tool} is missing", tool=name),
            why=_("the emulated NPU compiles its stand-in CANN libraries on this machine"),
            next=_("apt-get install gcc binutils (or your distribution's equivalent)"),
        )
    if not done.ok:
        raise _failure(name, done.stderr)
    return done.stdout.strip()


def _failure(tool: str, stderr: str) -> BundleError:
    return InstallError(
        _("{tool} failed while the stand-in CANN libraries were built", tool=tool), why=stderr.strip()[-800:]
    )
