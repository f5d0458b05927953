"""The same inputs, the same bits: again in this process, in another one, warm, and at another place in a batch.

`python -m verify.checks.repeatability` is the other process: it prints a digest of every point.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from msgspec import UNSET, UnsetType

from env.arguments import Parser
from env.errors import DeviceError, run_main
from env.language import _
from env.stack import ROOT
from model.components import Inputs, Loaded, Step
from model.device import Device, runtime_errors
from model.hooks import Hooks, Point
from verify.checks.tokens import logits_bound
from verify.reference import numerics
from verify.reference.numerics import as_array, same_bits
from verify.reference.values import LOGITS_POINT
from verify.run.context import Context
from verify.run.figures.repeats import (
    BatchFigures,
    DifferenceFigures,
    ProcessFigures,
    RepeatabilityFigures,
    RepeatsFigures,
)
from verify.run.judgement import of_repeatability
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

RUNS, RUNS_FULL = 10, 3
RUNS_SHARP = 50  # in float32, where noise of 1e-6 still changes bits
ROWS = 3  # of the batch that holds the same inputs in every row: the first, the last, and one between
PROCESS_LIMIT_S = 300.0  # imports alone take 10 to 14 s on a machine that does nothing else
PROCESS_LIMIT_FULL_S = 1200.0  # full-size weights are read anew, as the load check may take
ANSWER = "digests: "  # begins the line in which the other process answers

Digests = list[tuple[str, str]]  # of every point in order: its name and the SHA-256 of its bytes


class Repeats:
    """The points of a first pass, kept on the host, and further passes compared with them bit by bit."""

    def __init__(self, loaded: Loaded, inputs: Inputs, *, deep: bool) -> None:
        self._loaded, self._inputs, self._deep = loaded, inputs, deep
        self._kept: dict[tuple[Any, ...], tuple[Point, torch.Tensor]] = {}

        def keep(point: Point, here: torch.Tensor) -> None:
            self._kept[point.key] = point, here.clone()

        self._pass(inputs, keep)

    def again(self) -> Point | None:
        """One more pass: the first point that is not as it was, or None."""
        differing: list[Point] = []

        def compare(point: Point, here: torch.Tensor) -> None:
            if not same_bits(here, self._kept[point.key][1]):
                differing.append(point)

        self._pass(self._inputs, compare)
        return differing[0] if differing else None

    def digests(self) -> Digests:
        """What the first pass gave."""
        return [
            (point.name, hashlib.sha256(kept.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest())
            for point, kept in self._kept.values()
        ]

    def at_every_place(self, limit: float = 0.0, noise: float | UnsetType = UNSET) -> BatchFigures:
        """The first row's inputs as every row of a batch: do all rows agree, and where do they first not?

        Bits may rightly differ here, where a kernel treats the last rows in its own way; how far the logits are from
        one another decides.
        """
        wide = Inputs(self._inputs.features[:1].repeat(ROWS, 1, 1), self._inputs.input_ids[:1].repeat(ROWS, 1))
        differing: list[Point] = []
        errors: list[float | None] = []  # of the logits, a row each

        def compare(point: Point, here: torch.Tensor) -> None:
            alone = len(self._kept[point.key][1]) // self._inputs.batch
            if len(here) != ROWS * alone:
                return  # all rows share it: positions, queries
            first, *others = here.reshape(ROWS, alone, *here.shape[1:])
            for other in others:
                if not same_bits(other, first):
                    differing.append(point)
                if point.key == LOGITS_POINT:
                    errors.append(numerics.compare(as_array(other), as_array(first)).figures.rel_l2)

        self._pass(wide, compare)
        numbers = [error for error in errors if error is not None]
        return BatchFigures(
            rows=ROWS,
            identical=not differing,
            first_difference=differing[0].name if differing else None,
            logits_rel_l2=max(numbers, default=None) if len(numbers) == len(errors) else None,
            limit=limit,
            noise=noise,
        )

    def _pass(self, inputs: Inputs, see: Callable[[Point, torch.Tensor], None]) -> None:
        loaded = self._loaded
        with runtime_errors(loaded.device, "repeating a pass"), torch.inference_mode():
            with Hooks(loaded.model, lambda point, tensor: see(point, tensor.detach().cpu()), deep=self._deep):
                loaded.forward(inputs)
            loaded.device.synchronize()


def repeat(repeats: Repeats, *, at_least: int, seconds: float) -> RepeatsFigures:
    """Passes until `seconds` are over, and no fewer than `at_least`; the first difference is named.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    started = time.perf_counter()
    runs, differing = 1, 0
    first: DifferenceFigures | None = None
    while runs < at_least or time.perf_counter() - started < seconds:
        point = repeats.again()
        runs += 1
        if point is not None:
            differing += 1
            first = first or DifferenceFigures(run=runs, name=point.name, layer=point.owner)
    return RepeatsFigures(runs=runs, differing=differing, first_difference=first)


def warm(device: Device, parts: Mapping[str, Step]) -> dict[str, bool]:
    """Whether each part gives now, after everything that ran, the bits of its very first run in this process.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    identical = {}
    for name, step in parts.items():
        with runtime_errors(device, f"running {name} warm"), torch.inference_mode():
            output = step.run()
            device.synchronize()
        identical[name] = same_bits(output.cpu(), step.output.cpu())
    return identical


def in_another_process(session: Verification, limit: float = PROCESS_LIMIT_S) -> Digests:
    """What a fresh process on the same device computes, within `limit` seconds.

    Raises:
        DeviceError: it did not answer; its last line says why.
    """
    command = [sys.executable, "-m", "verify.checks.repeatability", "--context", session.context.as_json()]
    environ = dict(os.environ, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=limit, check=False
        )
        lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        last = lines[-1] if lines else _("it said nothing")
        why = _("exit code {code}: {last}", code=done.returncode, last=last)
    except subprocess.TimeoutExpired:
        lines, why = [], _("no answer in {limit:g} s", limit=limit)
    answer = next((line for line in lines if line.startswith(ANSWER)), None)
    if answer is None:
        raise DeviceError(
            _("a second process on {device} failed: {why}", device=session.context.device, why=why),
            next="nox -s verify -- --level 1",
        )
    return [(name, digest) for name, digest in json.loads(answer.removeprefix(ANSWER))]


def first_difference(one: Digests, other: Digests) -> str | None:
    """The name of the first point that two processes do not agree on."""
    if len(one) != len(other):
        return _("{count} points against {other}", count=len(one), other=len(other))
    return next((mine[0] for mine, theirs in zip(one, other, strict=True) if mine != theirs), None)


def check(session: Verification) -> Outcome:
    """The same bits again, in another process, after warm-up; and in every row of a batch, up to the dtype's noise."""
    loaded, inputs, deep = session.model, session.inputs, session.layer_by_layer
    first = Repeats(loaded, inputs, deep=deep)
    loaded.device.empty_cache()  # the other process loads the model once more
    limit = PROCESS_LIMIT_S if deep else PROCESS_LIMIT_FULL_S
    with ThreadPoolExecutor(1) as beside:  # half of the check's time is that process's imports
        other = beside.submit(in_another_process, session, limit)
        repeats = repeat(first, at_least=RUNS if deep else RUNS_FULL, seconds=0.0)
        steps = warm(loaded.device, session.parts)
        batch = first.at_every_place(
            limit=2 * logits_bound(loaded, session.reference).rel_l2,
            noise=session.reference.scores_noise[loaded.dtype][0],
        )
        bundled = session.bundled
        sharp = repeat(Repeats(bundled.model, bundled.inputs, deep=True), at_least=RUNS_SHARP, seconds=0.0)
        digests = other.result()
    process = ProcessFigures(points=len(digests), first_difference=first_difference(first.digests(), digests))
    figures = RepeatabilityFigures(repeats=repeats, warm=steps, batch=batch, repeats_sharp=sharp, process=process)
    if differences := of_repeatability(figures):
        return failed(differences, figures, session.signature())
    reason = _(
        "the same bits in {runs} runs, {sharp} in {dtype}, and in another process",
        runs=repeats.runs,
        sharp=sharp.runs,
        dtype=bundled.dtype,
    )
    return passed(reason, figures, session.signature(n=repeats.runs))


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m verify.checks.repeatability")
    parser.add_argument("--context", required=True, help=_("the run's options as JSON"))
    session = Verification(Context.from_json(parser.parse_args(argv).context))
    repeats = Repeats(session.model, session.inputs, deep=session.layer_by_layer)
    print(ANSWER + json.dumps(repeats.digests()), flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)
