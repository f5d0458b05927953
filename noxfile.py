"""The front door: `nox -s setup verify report`.

    nox -s setup verify report                         check the machine, build, verify, write the documents
    nox -s setup verify report -- --device npu:0       the same, on one device and no other
    nox -s setup verify report -- --help               every option of the three
    nox -s tests                                       the tests

Wiring only: each session calls a program of env/ or verify/, which works without nox too.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import importlib.util
import os
import secrets
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import nox
from nox.command import CommandFailed

sys.path.insert(0, str(Path(__file__).resolve().parent))

from env.language import _, translate

if importlib.util.find_spec("msgspec") is None:  # a nox of another environment has nox and no more
    print(translate(_("error: the Python that runs nox has no {package}", package="msgspec")), file=sys.stderr)
    sys.exit(translate(_("  next: {next}", next="pip install -r requirements/nox.txt")))

from env import builder
from env.arguments import Parser, at_least
from env.device_name import DeviceName
from env.ending import ENDING_S, interrupt_once, interrupted, nothing_left
from env.errors import BundleError, UsageError, VerificationFailedError, VerificationIncompleteError
from env.npu_emulator.options import EMULATED_DEVICE, TORCH_NPU, variables
from env.options import (
    APPENDIX,
    DEVICE,
    DEVICE_MAP,
    INVOKED_FROM,
    MAIN_JOB,
    MODEL_DIR,
    PROFILE,
    REPORT,
    RUN,
    STACK_OPTION,
    TARGET,
    Option,
    main_job_parser,
    run_folder,
    without,
)
from env.redaction import apart
from env.stack import DECLARED, REQUIREMENTS, environment_name, load_stack

nox.needs_version = ">=2026.7.11"
nox.options.sessions = ["setup", "verify", "report"]
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"

# A signal to nox alone (docker stop, timeout, the cancel of a CI) reaches no child of it. Nox, interrupted, sends its
# child a SIGTERM after INTERRUPT_S and waits; our programs take the first signal that reaches them and no other.
INTERRUPT_S, TERMINATE_S = 0.3, ENDING_S + 0.5
interrupt_once(ENDING_S + 2)
PROCESSES = contextlib.ExitStack()  # what ends with nox, by SIGKILL too
atexit.register(PROCESSES.close)

HOSTILE_READERS = 38  # of HOSTILE_TESTS
HOSTILE_TESTS = ("tests/property/test_hostile.py", "tests/property/test_hostile_records.py")
RUN_ID = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(2)  # of all sessions of this call
# `nox -s emulated` shapes the device with --faults; the report's option of that name is left out there.
EMULATED_JOB = {
    **MAIN_JOB,
    "report": tuple(option for option in REPORT if option is not APPENDIX),
    _("emulated device"): (TORCH_NPU, *EMULATED_DEVICE),
}


class RaisingParser(Parser):
    """A parser whose refusal ends one session, where argparse's own would end nox itself and the sessions after."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(session: nox.Session, groups: Mapping[str, Sequence[Option]] = MAIN_JOB) -> argparse.Namespace:
    """The options after `--`. They reach every session, so all three share one strict grammar."""
    os.environ.setdefault(INVOKED_FROM, str(session.invoked_from))
    parser = main_job_parser("nox -s setup verify report --", groups=groups, kind=RaisingParser)
    try:
        return parser.parse_args(session.posargs)
    except UsageError as error:
        session.error(translate(error.what))
    except SystemExit:  # --help: argparse would end nox, too
        session.skip(translate(_("help shown")))


def run_option(options: argparse.Namespace) -> list[str]:
    """The run of this call, for programs whose options name none."""
    return [] if options.run else ["--run", RUN_ID]


# A program of an environment that uv made finds no pip there, and uv only where nox is installed.
PATH = os.pathsep.join([*filter(None, [os.environ.get("PATH")]), sysconfig.get_path("scripts")])


@functools.cache
def watch_over_children() -> None:
    """From the first program that is called on: nothing of it outlives nox by more than it takes to end in order."""
    PROCESSES.enter_context(nothing_left(ENDING_S))


def call(
    session: nox.Session,
    python: str | Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    codes: Sequence[int] = (0,),
) -> None:
    """Run a program of this project, and end the session with its exit code's meaning where it is none of `codes`."""
    watch_over_children()
    shown, variables = apart(arguments)  # nox prints the command
    try:
        done = session.run(
            str(python),
            "-m",
            *shown,
            env={"PATH": PATH, **(env or {}), **variables},
            success_codes=codes,
            interrupt_timeout=INTERRUPT_S,
            terminate_timeout=TERMINATE_S,
        )
    except CommandFailed as failure:
        session.error(
            translate(
                _("python -m {program} ended with exit code {code}", program=arguments[0], code=failure.return_code)
            )
        )
    if interrupted():  # by a signal that came as the program was ending by itself
        raise KeyboardInterrupt
    if done is None:
        session.error(translate(_("nothing ran: --install-only has no meaning here")))


def tools(session: nox.Session) -> Path:
    """An interpreter with the tools, made in seconds, from the user's sources, where setup did not come so far."""
    try:
        return builder.tools_python()
    except BundleError as missing:
        session.log(translate(_("{missing}: making it", missing=missing.what)))
        call(session, sys.executable, "env", "setup", *without(session.posargs, TARGET), "--profile", "tools")
        return builder.tools_python()


@nox.session(venv_backend="none")
def setup(session: nox.Session) -> None:
    """Check driver, CANN, devices and Python, then build the pinned environment."""
    options = parse(session)
    call(session, sys.executable, "env", "setup", *session.posargs, *run_option(options))


@nox.session(venv_backend="none")
def verify(session: nox.Session) -> None:
    """Run inference.py, eval.py and every check around them; record each; print the verdict."""
    options = parse(session)
    call(session, tools(session), "verify", *session.posargs, *run_option(options))


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """Render the adaptation document, Chinese and English, from the records."""
    options = parse(session)
    begun = run_folder(options.results, RUN_ID).exists()  # by setup or verify; else the newest run is meant
    call(session, tools(session), "verify.report", *session.posargs, *(run_option(options) if begun else []))


@nox.session(venv_backend="none", default=False)
def emulated(session: nox.Session) -> None:
    """Try the NPU path without an NPU: verify, report, inference.py, eval.py on the real torch-npu, device emulated."""
    options = parse(session, EMULATED_JOB)
    shared = without(session.posargs, (TORCH_NPU, *EMULATED_DEVICE))
    stack = STACK_OPTION.to_argv(options.stack)
    call(session, sys.executable, "env", "setup", *without(shared, TARGET), "--profile", "host", *stack)
    python = str(builder.VENVS / environment_name("host", options.stack) / "bin" / "python")
    name = DeviceName.parse(options.device)
    device = options.device if name.kind == "npu" else "npu:0"
    one = name.card(name.index).label if name.several else device  # the programs run on one
    model_dir = options.model_dir or load_stack().stand_in
    shape = variables(options)
    on_device = ("env.npu_emulator", "run", "--python", python, "--torch-npu", options.torch_npu, "--")
    job = ["--device", device, "--profile", "host", "--model-dir", model_dir]
    job += [*without(shared, (DEVICE, PROFILE, MODEL_DIR)), *run_option(options)]
    nox_job = (sys.executable, "-m", "nox", "-s", "verify", "report", "--", *job)
    call(session, sys.executable, *on_device, *nox_job, env=shape)
    recipe = ["--device", one, "--model-dir", model_dir, "--dtype", options.dtype, "--seed", str(options.seed)]
    recipe += DEVICE_MAP.to_argv(options.device_map)
    for program in ("inference.py", "eval.py"):
        call(session, sys.executable, *on_device, python, program, *recipe, env=shape)


@nox.session(venv_backend="none", default=False)
def stacks(session: nox.Session) -> None:
    """Verify on every declared stack, and show what each came to side by side."""
    options = parse(session)
    shared = without(session.posargs, (STACK_OPTION, RUN))
    judged = (0, VerificationFailedError.exit_code, VerificationIncompleteError.exit_code)
    runs = {name: f"{RUN_ID}-{name}" for name in (DECLARED, *load_stack().others)}
    for name, run in runs.items():
        argv = [*shared, *STACK_OPTION.to_argv(name), "--run", run]
        call(session, sys.executable, "env", "setup", *argv)
        call(session, tools(session), "verify", *argv, codes=judged)
    folders = (str(run_folder(options.results, run)) for run in runs.values())
    call(session, tools(session), "verify.report.stacks", *folders)


@nox.session(venv_backend="none", default=False)
def aarch64(session: nox.Session) -> None:
    """Audit, setup and level 1 on aarch64, by user-mode emulation (needs qemu-user-static and debootstrap)."""
    os.environ.setdefault(INVOKED_FROM, str(session.invoked_from))
    call(session, sys.executable, "env", "aarch64", *session.posargs)


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


@nox.session(name="codes-check", venv_backend="none", default=False)
def codes_check(session: nox.Session) -> None:
    """Compare env/codes.toml with the vendor's own files of error codes: `-- FILE...`."""
    here = Path(session.invoked_from)
    files = [str(here / file) if (here / file).exists() else file for file in session.posargs]
    call(session, sys.executable, "env", "codes-check", *files)


@nox.session(venv_backend="none", default=False)
def lock(session: nox.Session) -> None:
    """Write the hashed locks anew from requirements/*.in and stack.toml."""
    call(session, sys.executable, "env", "lock", *session.posargs)


@nox.session(venv_backend="none", default=False)
def supply(session: nox.Session) -> None:
    """Known vulnerabilities and licences of every pin of the locks, and what could not be looked up."""
    call(session, sys.executable, "env", "supply", *session.posargs)


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


@nox.session(name="bench-hostile", venv_backend="none", default=False)
def bench_hostile(session: nox.Session) -> None:
    """Bent files to every reader of what comes from elsewhere; `-- --n 10000` is how many in all."""
    parser = RaisingParser(prog="nox -s bench-hostile --")
    parser.add_argument("--n", type=at_least(100), default=10_000, help=_("how many inputs, over all readers"))
    try:
        options = parser.parse_args(session.posargs)
    except UsageError as error:
        session.error(translate(error.what))
    examples = {"BUNDLE_HOSTILE_EXAMPLES": str(options.n // HOSTILE_READERS)}
    call(session, development(session), "pytest", "-q", *HOSTILE_TESTS, env=examples)


@nox.session(name="bench-kills", venv_backend="none", default=False)
def bench_kills(session: nox.Session) -> None:
    """End the main job at random moments (`-- --n 200`), and look at what is left of it."""
    call(session, sys.executable, "verify.bench_kills", *session.posargs)


@nox.session(venv_backend="none", default=False)
def compare(session: nox.Session) -> None:
    """Hold two runs, or two sides of several, beside each other: RUN_A RUN_B."""
    os.environ.setdefault(INVOKED_FROM, str(session.invoked_from))
    call(session, tools(session), "verify.report.compare", *session.posargs)


@nox.session(name="bench-pair", venv_backend="none", default=False)
def bench_pair(session: nox.Session) -> None:
    """Time two sides in turn, A B A B, and compare them: --a OPTIONS --b OPTIONS."""
    call(session, host(session), "verify.bench_pair", *session.posargs)


@nox.session(name="bench-compare", venv_backend="none", default=False)
def bench_compare(session: nox.Session) -> None:
    """How often compare cries wolf over one program, and whether it sees a slow-down and a wrong layer."""
    call(session, host(session), "verify.bench_compare", *session.posargs)


@nox.session(venv_backend="none", default=False)
def reference(session: nox.Session) -> None:
    """Propose a chip's rows of reference times from a run: --run RUN."""
    os.environ.setdefault(INVOKED_FROM, str(session.invoked_from))
    call(session, tools(session), "verify.report.references", *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=True, default=False)
def export(session: nox.Session) -> None:
    """Write a run in the formats that others take: --run RUN [--format NAME ...]."""
    os.environ.setdefault(INVOKED_FROM, str(session.invoked_from))
    session.install("--require-hashes", "-r", str(REQUIREMENTS / "export.txt"))  # pip's own sources, as configured
    call(session, Path(session.bin, "python"), "verify.report.export", *session.posargs)


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
def page(session: nox.Session) -> None:
    """The HTML pages in an installed Chrome or Chromium (CHROME_PATH, else PATH), as wide as a phone and a desk."""
    call(session, development(session), "pytest", "tests/browser_pages.py", *session.posargs)


@nox.session(venv_backend="none", default=False)
def fuzz(session: nox.Session) -> None:
    """Run the property tests on inputs that are drawn anew each time; the suite draws the same ones every time."""
    environ = {"OMP_NUM_THREADS": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "BUNDLE_HYPOTHESIS_PROFILE": "fuzz"}
    spread = ("-n", str(os.cpu_count() or 1))
    call(session, development(session), "pytest", *spread, *(session.posargs or ["tests/property"]), env=environ)


@nox.session(venv_backend="none", default=False)
def lint(session: nox.Session) -> None:
    """Check style and format with ruff, types with mypy, and the Chinese catalogue for what is not translated."""
    python = development(session)
    call(session, python, "ruff", "check", ".")
    call(session, python, "ruff", "format", "--check", ".")
    call(session, python, "mypy")
    call(session, python, "env.catalogue", "--check")


@nox.session(venv_backend="none", default=False)
def messages(session: nox.Session) -> None:
    """Bring the Chinese catalogue in step with the messages of code, templates and tables, and compile it."""
    call(session, development(session), "env.catalogue", *session.posargs)
