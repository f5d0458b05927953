"""The child that runs checks: imports once, keeps the model warm, says one line of JSON a check.

It reads the function of each check from standard input and answers on the file descriptor it was given; what it
prints goes to the log.
It dies with its parent, so that a killed run never leaves a process that holds the device.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from env import npu_emulator
from env.errors import BundleError
from verify.run.context import Context
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def run_check(where: str, session: Verification) -> Outcome:
    """Run the check at "module:name"; what it raises becomes an error outcome; its traceback is in the log."""
    module, _, name = where.partition(":")
    try:
        check: Callable[[Verification], Outcome] = getattr(importlib.import_module(module), name)
        return check(session)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return Outcome(Status.ERROR, str(error))
    except Exception as error:
        traceback.print_exc()
        return Outcome(Status.ERROR, f"{type(error).__name__}: {error}")


def answer(outcome: Outcome, seconds: float) -> str:
    """One line of JSON for the parent. Figures that are not finite or not plain are a bug of the check, and said so."""
    value: dict[str, Any] = {
        "status": outcome.status.value,
        "reason": outcome.reason,
        "data": dict(outcome.data),
        "signature": outcome.signature.as_json() if outcome.signature else {},
        "seconds": seconds,
        "emulated": npu_emulator.active(),
    }
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        value |= {"status": Status.ERROR.value, "reason": f"the check's figures are no JSON: {error}", "data": {}}
        return json.dumps(value | {"signature": {}}, ensure_ascii=False)


def serve(functions: TextIO, results: TextIO, session: Verification) -> None:
    """Answer every function that arrives, a line each, until the parent closes the pipe."""
    for line in functions:
        start = time.perf_counter()
        outcome = run_check(line.strip(), session)
        print(answer(outcome, round(time.perf_counter() - start, 3)), file=results, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m verify.run.worker", allow_abbrev=False)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--results-fd", type=int, required=True)
    parser.add_argument("--context", required=True, help="the Context as JSON")
    arguments = parser.parse_args(argv)
    die_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # the parent asks where a hanging check stands
    session = Verification(Context.from_json(arguments.context))
    with os.fdopen(arguments.results_fd, "w", encoding="utf-8") as results:
        serve(sys.stdin, results, session)
    return 0


if __name__ == "__main__":
    sys.exit(main())
