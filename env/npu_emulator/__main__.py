"""Build the emulated NPU, and run an unmodified program on it:

python -m env.npu_emulator build --python .venvs/host/bin/python
python -m env.npu_emulator run -- .venvs/host/bin/python inference.py --device npu:0 --audio clip.wav
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from env.arguments import Parser
from env.errors import HostError, UsageError, run_main
from env.language import _
from env.runner import run

from . import TOOLS, VARIABLE, npu_smi
from .build import HERE, Emulator, build
from .chips import chip_like, load_emulated_chips
from .guard import real_npu
from .options import CHIP, COUNT, DEFAULT_CHIP, EMULATED_DEVICE, FAULTS_VARIABLE, TORCH_NPU, variables


def environment(emulator: Emulator, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with what makes a Python program in it, and its children, run on the emulated NPU.

    Where nothing in it says which chip that is, it is the default one.
    """
    path = [str(HERE / "site"), str(emulator.packages), *filter(None, [environ.get("PYTHONPATH")])]
    return {
        **DEFAULT_CHIP.variables,
        **environ,
        VARIABLE: "1",
        "NPU_EMU_HOME": str(emulator.folder),
        "NPU_EMU_PYTHON": sys.executable,  # for the tools
        "PATH": os.pathsep.join([str(TOOLS), *filter(None, [environ.get("PATH")])]),
        "PYTHONPATH": os.pathsep.join(path),
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        "TASK_QUEUE_ENABLE": "0",  # kernels are Python here: torch-npu's own launch thread must not call them
    }


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    reason = real_npu()
    if reason:
        raise HostError(
            _("the emulated NPU does not start here: {reason}", reason=reason),
            why=_("a run on it could be taken for one on the real device"),
            next=_("nox -s verify -- --device npu:0, without the emulator"),
        )
    if options.command == "npu-smi":
        return _npu_smi(options)
    if options.command == "run":
        return _run(options)
    emulator = _built(options, options.python)
    print(emulator.folder)
    return 0


def _npu_smi(options: argparse.Namespace) -> int:
    soc = os.environ.get("NPU_EMU_SOC", DEFAULT_CHIP.soc)
    chip = load_emulated_chips()[options.chip] if options.chip else chip_like(soc) or DEFAULT_CHIP
    text = npu_smi.answer(options.words, chip, options.count or int(os.environ.get("NPU_EMU_COUNT", "1")))
    if text is None:
        raise UsageError(
            _("npu-smi {words} is not emulated", words=" ".join(options.words)),
            next="info, -m, -t common -i 0",
        )
    print(text, end="")
    return 0


def _built(options: argparse.Namespace, python: str) -> Emulator:
    interpreter = shutil.which(python)
    if interpreter is None:
        raise UsageError(_("no interpreter {python}", python=python), next=_("nox -s setup, or name one with --python"))
    return build(interpreter, options.torch_npu, options.output)


def _run(options: argparse.Namespace) -> int:
    program: list[str] = options.program
    if program[:1] == ["--"]:
        program = program[1:]
    if not program:
        raise UsageError(_("no program to run"), next="python -m env.npu_emulator run -- python program.py")
    environ = environment(_built(options, options.python), {**os.environ, **variables(options)})
    if environ.get(FAULTS_VARIABLE):
        _require_sound_faults(options.python, environ)
    try:
        os.execvpe(program[0], program, environ)  # noqa: S606 (the program that the user names)
    except OSError as error:
        raise UsageError(_("cannot run {program}: {reason}", program=program[0], reason=error.strerror)) from error


def _require_sound_faults(python: str, environ: Mapping[str, str]) -> None:
    """Have a process of the emulated kind read the faults and do nothing else: the program need not be a Python one.

    Raises:
        UsageError: they make no sense.
    """
    done = run([python, "-c", ""], environ=environ)
    if not done.ok:
        raise UsageError(done.stderr.strip().removeprefix("error: "))


def _parser() -> Parser:
    parser = Parser(prog="python -m env.npu_emulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = Parser(add_help=False)
    common.add_argument("--python", default=sys.executable, help=_("the interpreter, with torch, that programs run on"))
    TORCH_NPU.add(common)
    common.add_argument(
        "--output", type=Path, help=_("folder of the built emulator (default: under .cache/npu-emulator)")
    )
    commands.add_parser("build", parents=[common], help=_("install the wheel, compile the stand-in CANN libraries"))
    run = commands.add_parser("run", parents=[common], help=_("run a program on the emulated NPU; builds it if needed"))
    for option in EMULATED_DEVICE:
        option.add(run)
    shown = commands.add_parser("npu-smi", help=_("print what npu-smi would of the emulated chip"))
    for option in (CHIP, COUNT):
        option.add(shown)
    shown.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="...", help=_("as npu-smi takes them: info -t ecc -i 0")
    )
    run.add_argument("program", nargs=argparse.REMAINDER, help=_("-- and the command"))
    return parser


if __name__ == "__main__":
    run_main(main)
