"""The front door: `nox -s setup verify report`.

    nox -s setup verify report                         check the machine, build, verify, write the documents
    nox -s setup verify report -- --device npu:0       the same, on one device and no other
    nox -s setup verify report -- --help               every option of the three
    nox -s tests                                       the tests

Wiring only: each session calls a program of env/ or verify/, which works without nox too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

sys.path.insert(0, str(Path(__file__).resolve().parent))

from env import builder
from env.errors import BundleError
from env.options import add_setup_options, add_target_options, run_folder
from env.stack import load_stack
from verify.options import add_appendix_option, add_report_options, add_verify_options

nox.needs_version = ">=2026.7.11"
nox.options.sessions = ["setup", "verify", "report"]
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"

# SIGTERM kills nox alone and would leave a child that holds the device; as Ctrl-C it reaches the child first.
signal.signal(signal.SIGTERM, signal.default_int_handler)
INTERRUPT_S, TERMINATE_S = 30.0, 15.0  # nox's own 0.3 s would cut off a check that is being recorded

RUN_ID = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(2)  # of all sessions of this call
Adder = Callable[[argparse.ArgumentParser], None]


def parse(session: nox.Session, adders: Sequence[Adder]) -> argparse.Namespace:
    """The options after `--`. They reach every session, so all three share one strict parser."""
    parser = argparse.ArgumentParser(prog="nox -s setup verify report --", allow_abbrev=False)
    for add in adders:
        add(parser)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(session.posargs)
    except SystemExit as stop:  # it would end nox itself, and the sessions after this one
        if stop.code == 0:
            session.skip("help shown")
        session.error(said.getvalue().strip().splitlines()[-1])


def words(given: argparse.Namespace, adders: Sequence[Adder]) -> list[str]:
    """`given` as the options of a program that knows only those of `adders`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for add in adders:
        add(parser)
    result: list[str] = []
    for action in parser._actions:
        value = getattr(given, action.dest)
        option = action.option_strings[0]
        if value == action.default:
            continue
        for one in value if isinstance(value, list) else [value]:
            result += [option] if one is True else [option, str(one)]
    return result


def call(session: nox.Session, python: str | Path, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run a program of this project, and end the session with its exit code's meaning where it fails."""
    try:
        done = session.run(
            str(python), "-m", *arguments, env=env, interrupt_timeout=INTERRUPT_S, terminate_timeout=TERMINATE_S
        )
    except CommandFailed as failure:
        session.error(f"python -m {arguments[0]} ended with exit code {failure.return_code}")
    if done is None:
        session.error("nothing ran: --install-only has no meaning here")


ALL: tuple[Adder, ...] = (add_target_options, add_setup_options, add_verify_options, add_report_options)


def options(session: nox.Session, *more: Adder) -> argparse.Namespace:
    """The options of this call, paths as they were meant where nox was called from."""
    given = parse(session, (*ALL, *more))
    given.run = given.run or RUN_ID
    here = Path(session.invoked_from)
    for name in ("wheelhouse", "model_dir", "reference", "output", "results", "run", "campaign"):
        value = getattr(given, name, None)
        if value and here != Path.cwd() and (here / value).exists():
            setattr(given, name, str(here / value))
    given.find_links = [str(here / place) if (here / place).exists() else place for place in given.find_links]
    return given


def tools(session: nox.Session, given: argparse.Namespace) -> Path:
    """An interpreter with the tools, made in seconds, from the sources given, where setup did not come so far."""
    try:
        return builder.tools_python()
    except BundleError as missing:
        session.log(f"{missing.what}: making it")
        sources = words(given, (add_setup_options,))
        call(session, sys.executable, "env", "setup", "--profile", "tools", *sources)
        return builder.tools_python()


@nox.session(venv_backend="none")
def setup(session: nox.Session) -> None:
    """Check driver, CANN, devices and Python, then build the pinned environment."""
    given = options(session, add_appendix_option)
    call(session, sys.executable, "env", "setup", *words(given, (add_target_options, add_setup_options)))


@nox.session(venv_backend="none")
def verify(session: nox.Session) -> None:
    """Run inference.py, eval.py and every check around them; record each; print the verdict."""
    given = options(session, add_appendix_option)
    call(session, tools(session, given), "verify", *words(given, (add_target_options, add_verify_options)))


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """Render the adaptation document, Chinese and English, from the records."""
    given = options(session, add_appendix_option)
    folder = run_folder(given.results, given.run)
    latest = given.run == RUN_ID and not folder.exists()
    chosen = [] if latest else ["--run", str(folder)]
    call(
        session,
        tools(session, given),
        "verify.report",
        "--results",
        given.results,
        *chosen,
        *words(given, (add_report_options, add_appendix_option)),
    )


@nox.session(venv_backend="none", default=False)
def emulated(session: nox.Session) -> None:
    """Try the NPU path without an NPU: verify, report, inference.py, eval.py on the real torch-npu, device emulated."""
    from env.npu_emulator.options import add_device_options, add_release_option

    given = options(session, add_release_option, add_device_options)
    given.device = given.device if given.device.startswith("npu") else "npu:0"
    given.profile, given.model_dir = "host", given.model_dir or load_stack().stand_in
    call(session, sys.executable, "env", "setup", "--profile", "host", *words(given, (add_setup_options,)))
    python = str(builder.VENVS / "host" / "bin" / "python")
    device = words(given, (add_release_option, add_device_options))
    on_device = ("env.npu_emulator", "run", "--python", python, *device, "--")
    job = words(given, (add_target_options, add_verify_options, add_report_options))
    call(session, sys.executable, *on_device, sys.executable, "-m", "nox", "-s", "verify", "report", "--", *job)
    for program in ("inference.py", "eval.py"):
        asked = ("--device", given.device, "--model-dir", given.model_dir, "--dtype", given.dtype)
        call(session, sys.executable, *on_device, python, program, *asked, "--seed", str(given.seed))


@nox.session(venv_backend="none", default=False)
def faults(session: nox.Session) -> None:
    """Plant faults on the emulated NPU and on a CPU, and show which of them verify sees."""
    call(session, host(session), "verify.faults", *session.posargs)


@nox.session(venv_backend="none", default=False)
def audit(session: nox.Session) -> None:
    """Judge this machine, a captured one (--root DIR) or a set of versions (--stack NAME=VERSION ...)."""
    call(session, sys.executable, "env", "audit", *session.posargs)


@nox.session(name="compat-check", venv_backend="none", default=False)
def compat_check(session: nox.Session) -> None:
    """Compare env/audit/compat.toml with the vendor's published tables, saved as files: `-- FILE...`."""
    here = Path(session.invoked_from)
    files = [str(here / file) if (here / file).exists() else file for file in session.posargs]
    call(session, sys.executable, "env", "compat-check", *files)


@nox.session(venv_backend="none", default=False)
def lock(session: nox.Session) -> None:
    """Write the hashed locks anew from requirements/*.in and stack.toml."""
    call(session, sys.executable, "env", "lock", *session.posargs)


@nox.session(venv_backend="none", default=False)
def wheelhouse(session: nox.Session) -> None:
    """Collect the locked wheels for a machine without network: --profile npu --arch aarch64 --python 3.10."""
    call(session, sys.executable, "env", "wheelhouse", *session.posargs)


def host(session: nox.Session) -> Path:
    """The interpreter of the host profile, which trains and calibrates."""
    call(session, sys.executable, "env", "setup", "--profile", "host")
    return builder.VENVS / "host" / "bin" / "python"


@nox.session(name="train-standin", venv_backend="none", default=False)
def train_standin(session: nox.Session) -> None:
    """Make the bundled stand-in checkpoint from nothing: clips (needs espeak-ng), training, export, held-out score."""
    call(session, host(session), "model.training", *session.posargs)


@nox.session(venv_backend="none", default=False)
def calibrate(session: nox.Session) -> None:
    """Measure what real arithmetic adds to an ideal device's noise (bounds.toml); `-- --write` keeps it."""
    call(session, host(session), "verify.reference.calibrate", *session.posargs)


@nox.session(name="bench-setup", venv_backend="none", default=False)
def bench_setup(session: nox.Session) -> None:
    """Time a first setup from warm caches beside `python -m venv` and `pip install -r`."""
    call(session, sys.executable, "env", "bench-setup", *session.posargs)


@nox.session(name="bench-doctor", venv_backend="none", default=False)
def bench_doctor(session: nox.Session) -> None:
    """Time the doctor on a log of 200 MiB."""
    call(session, sys.executable, "env", "bench-doctor", *session.posargs)


def development(session: nox.Session) -> Path:
    """The interpreter of `.venvs/dev`: the host profile with the test tools."""
    call(session, sys.executable, "env", "setup", "--profile", "dev")
    return builder.VENVS / "dev" / "bin" / "python"


@nox.session(venv_backend="none", default=False)
def tests(session: nox.Session) -> None:
    """Run the tests, a file at a time on every core; what follows `--` goes to pytest."""
    spread = ("-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile")  # each worker imports torch: 1 GB
    environ = {"OMP_NUM_THREADS": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}  # the models are tiny: threads only wait
    call(session, development(session), "pytest", *spread, *session.posargs, env=environ)


@nox.session(venv_backend="none", default=False)
def lint(session: nox.Session) -> None:
    """Check style and format with ruff, types with mypy."""
    python = development(session)
    call(session, python, "ruff", "check", ".")
    call(session, python, "ruff", "format", "--check", ".")
    call(session, python, "mypy")
