"""`python -m verify.faults.server`: a warm process that runs verify, with faults or without, once a line.

It imports what takes 12 s once. Each request is a fork: faults are put in there, `python -m verify` and
`python -m verify.report` are called as their command lines would be, and the fork is thrown away.
A request and its answer are a line of JSON each; what a fork prints goes to the request's own log.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from env.arguments import Parser
from env.errors import BundleError
from verify import cards
from verify.__main__ import main as verify
from verify.reference import file
from verify.report.__main__ import main as report
from verify.run import plan
from verify.run.records import Status, read_evidence

from . import effect
from .forked import Forked, fork_workers
from .inject import MODEL_MODULE, Injection
from .spec import parse_rows

KERNELS = "bundle.env.npu_emulator.kernels"  # as the emulator's sitecustomize.py imports them
WARM = (
    MODEL_MODULE,
    "transformers.models.granite_speech.processing_granite_speech",
    "transformers.generation",
    "accelerate", "jiwer", "sacrebleu", "soundfile", "soxr", "torchaudio",
)  # fmt: skip
STOPPED = -1  # the exit code of a request that outlasted its limit


def warm(device: str) -> None:
    """Import what every request needs; nothing is computed yet, so that forks begin with an unused device."""
    if device == "npu":
        importlib.import_module("torch_npu")
    for name in WARM:
        importlib.import_module(name)
    for check in plan.CHECKS:
        importlib.import_module(check.where.partition(":")[0])


def inject(rows: Sequence[Mapping[str, Any]]) -> None:
    """Put faults into this process, where all that they hook into is imported."""
    injection = Injection(parse_rows([dict(row) for row in rows], "the case"))
    injection.after_torch()
    if KERNELS in sys.modules:
        injection.after_torch_npu(sys.modules[KERNELS])
    injection.after_model(sys.modules[MODEL_MODULE])


def run(request: Mapping[str, Any]) -> int:
    """One request, in its fork: the effect of the faults, the phases of verify, the documents."""
    folder = Path(request["folder"])
    if "references" in request:
        file.FOLDER = Path(request["references"])
    if "prepare" in request:
        effect.clean(request["prepare"], folder)
        return 0
    plan.CHECKS = tuple(replace(check, limit=min(check.limit, request["limit"])) for check in plan.CHECKS)
    fork_workers()
    cards.run_all = run_cards
    inject(request["faults"])
    if "effect" in request:
        effect.measure(request["effect"], folder)
    code = 0
    for checks in request["phases"]:
        named = [part for check in checks for part in ("--check", check)]
        code = _exit_code(verify, ["--run", str(folder), *request["arguments"], *named])
        records = read_evidence(Path(request["evidence"])).records.values()
        if any(record.status is not Status.PASS for record in records):
            break
    if request.get("report"):
        _exit_code(report, ["--run", str(folder)])
    return code


def run_cards(commands: Mapping[str, Sequence[str]], at_once: int) -> bool:
    """In place of verify.cards.run_all: `python -m verify ...` of one card after another, each in a fork."""
    for command in commands.values():
        Forked(partial(_exit_code, verify, [*command[3:]]), stdout=1).wait()
    return False


def _exit_code(program: Callable[[Sequence[str]], int], argv: list[str]) -> int:
    """What the program would have exited with."""
    try:
        return program(argv)
    except BundleError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code


def serve(request: Mapping[str, Any]) -> dict[str, Any]:
    """Fork for a request, and wait for it no longer than its deadline."""
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (folder / "campaign.log").open("wb") as log:
        process = Forked(lambda: run(request), log.fileno())
    descriptor = os.pidfd_open(process.pid)
    ended = select.select([descriptor], [], [], request["deadline"])[0]
    os.close(descriptor)
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    code = process.wait()
    return {"exit_code": code if ended else STOPPED, "seconds": round(time.monotonic() - started, 2)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m verify.faults.server", description=__doc__)
    parser.add_argument("--device", choices=("npu", "cpu"), required=True)
    device = parser.parse_args(argv).device
    answers = os.fdopen(os.dup(1), "w")  # what else is printed, by libraries too, must not be read as an answer
    os.dup2(2, 1)
    warm(device)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
