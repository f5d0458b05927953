"""The child that runs checks: imports once, keeps the model warm, writes one line of JSON a check.

It reads the function of each check from standard input and answers on the file descriptor that --results-fd names;
what it prints goes to the log.
It dies with its parent, so that a killed run never leaves a process that holds the device.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import msgspec

from env import ending, npu_emulator
from env.arguments import Parser
from env.errors import BundleError, CheckpointError, UsageError
from env.language import Message, _
from model import startup
from model.device import Device
from verify.reference import progress
from verify.run.context import Context
from verify.run.damage import DamageError, convert, encode_message
from verify.run.records import DOING, Answer, Outcome, Status
from verify.run.verification import Verification

PR_SET_PDEATHSIG = 1  # linux/prctl.h
HARMLESS = (UsageError, CheckpointError)  # told before the device was given anything


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before this
        os._exit(1)


def run_check(where: str, session: Verification) -> tuple[Outcome, bool]:
    """Run the check at "module:name"; what it raises becomes an error outcome; its traceback is in the log.

    Beside it, whether this process is spoiled by that: after an error of an NPU's runtime torch-npu drops every later
    operator without a word (NPUQueue.cpp, Enqueue in status CAN_EXIT), and reads whatever the memory held before.
    """
    module, _colon, name = where.partition(":")
    try:
        with startup.importing(startup.TORCH):  # a check's own modules are small beside it
            check: Callable[[Verification], Outcome] = getattr(importlib.import_module(module), name)
        return check(session), False
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return Outcome(Status.ERROR, error.message), not isinstance(error, HARMLESS) and _on_npu()
    except Exception as error:
        traceback.print_exc()
        reason = _("{kind}: {error}", kind=type(error).__name__, error=str(error))
        return Outcome(Status.ERROR, reason), _on_npu()


def _on_npu() -> bool:
    return sys.modules.get("torch_npu") is not None


def card(session: Verification) -> dict[str, Any]:
    """Which card the session's device is, where it has one by now and that still answers."""
    device: Device | None = vars(session).get("device")
    try:
        return (device.physical if device else None) or {}
    except RuntimeError:  # its runtime has failed
        return {}


def answer(outcome: Outcome, seconds: float, *, spoiled: bool = False, card: Mapping[str, Any] | None = None) -> str:
    """One line of JSON for the parent. Figures that JSON cannot hold, or of another type, are a bug of the check."""
    reason = outcome.reason if isinstance(outcome.reason, Message) else Message(outcome.reason)
    emulated = npu_emulator.active()
    try:
        data = outcome.data
        if outcome.figures is not None:
            convert(data, type(outcome.figures), "data")
        signature = outcome.signature.as_json() if outcome.signature else {}
        return line_of(
            Answer(
                status=outcome.status,
                reason=reason,
                data=data,
                signature=signature,
                seconds=seconds,
                emulated=emulated,
                spoiled=spoiled,
                card=dict(card or {}),
            )
        )
    except (TypeError, ValueError) as error:
        problem = error.problem if isinstance(error, DamageError) else str(error)
        reason = _("the check's figures are no JSON: {problem}", problem=problem)
        return line_of(Answer(status=Status.ERROR, reason=reason, seconds=seconds, emulated=emulated))


def line_of(answer: Answer) -> str:
    """Raises: ValueError, where a float is not finite; TypeError, where a value is none that JSON has."""
    value = msgspec.to_builtins(answer, enc_hook=encode_message)
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def progress_line(message: Message) -> str:
    """One line of JSON that is no answer: what the check does meanwhile."""
    return json.dumps({DOING: encode_message(message)}, ensure_ascii=False)


def serve(functions: TextIO, results: TextIO, session: Verification) -> None:
    """Answer every function that arrives, a line each, until the parent closes the pipe."""
    for line in functions:
        start = time.perf_counter()
        outcome, spoiled = run_check(line.strip(), session)
        seconds = round(time.perf_counter() - start, 3)
        print(answer(outcome, seconds, spoiled=spoiled, card=card(session)), file=results, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m verify.run.worker")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--results-fd", type=int, required=True)
    parser.add_argument("--context", required=True, help=_("the run's options as JSON"))
    arguments = parser.parse_args(argv)
    die_with_parent(arguments.parent)
    for number in ending.SIGNALS:  # a Ctrl-C or a service manager's SIGTERM reaches every process; the parent decides
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # the parent asks where a hanging check stands
    session = Verification(Context.from_json(arguments.context))
    with os.fdopen(arguments.results_fd, "w", encoding="utf-8") as results:
        progress.LISTENERS.append(lambda message: print(progress_line(message), file=results, flush=True))
        serve(sys.stdin, results, session)
    return 0


if __name__ == "__main__":
    sys.exit(main())
