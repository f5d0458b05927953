"""The same inputs, the same bits: again in this process, in another one, warm, and at another place in a batch.

`python -m verify.checks.repeatability` is the other process: it says what it computed, a digest a point.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from env.errors import DeviceError, run_main
from env.stack import ROOT
from model.components import Inputs, Loaded, Step
from model.device import Device, runtime_errors
from verify.checks.tokens import logits_bound
from verify.reference import numerics
from verify.reference.numerics import as_array, same_bits
from verify.reference.points import LOGITS_POINT
from verify.run.context import Context
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

if TYPE_CHECKING:
    import torch

    from model.hooks import Point


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
        import torch

        return [
            (point.name, hashlib.sha256(kept.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest())
            for point, kept in self._kept.values()
        ]

    def at_every_place(self) -> dict[str, Any]:
        """The first row's inputs as every row of a batch: do all rows agree, and where do they first not?

        Bits may rightly differ here, where a kernel treats the last rows apart; how far the logits are apart decides.
        """
        wide = Inputs(self._inputs.features[:1].repeat(ROWS, 1, 1), self._inputs.input_ids[:1].repeat(ROWS, 1))
        differing: list[Point] = []
        apart: list[float | None] = []

        def compare(point: Point, here: torch.Tensor) -> None:
            alone = len(self._kept[point.key][1]) // self._inputs.batch
            if len(here) != ROWS * alone:
                return  # all rows share it: positions, queries
            first, *others = here.reshape(ROWS, alone, *here.shape[1:])
            for other in others:
                if not same_bits(other, first):
                    differing.append(point)
                if point.key == LOGITS_POINT:
                    apart.append(numerics.compare(as_array(other), as_array(first)).as_json()["rel_l2"])

        self._pass(wide, compare)
        return {
            "rows": ROWS,
            "identical": not differing,
            "first_difference": differing[0].name if differing else None,
            "logits_rel_l2": None if None in apart else max(apart, default=None),  # type: ignore[type-var]
        }

    def _pass(self, inputs: Inputs, see: Callable[[Point, torch.Tensor], None]) -> None:
        import torch

        from model.hooks import Hooks

        loaded = self._loaded
        with runtime_errors(loaded.device, "repeating a pass"), torch.inference_mode():
            with Hooks(loaded.model, lambda point, tensor: see(point, tensor.detach().cpu()), deep=self._deep):
                loaded.forward(inputs)
            loaded.device.synchronize()


def repeat(repeats: Repeats, *, at_least: int, seconds: float) -> dict[str, Any]:
    """Passes until `seconds` are over, and no fewer than `at_least`; the first difference is named.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    started = time.perf_counter()
    runs, differing, first = 1, 0, None
    while runs < at_least or time.perf_counter() - started < seconds:
        point = repeats.again()
        runs += 1
        if point is not None:
            differing += 1
            first = first or {"run": runs, "name": point.name, "layer": point.owner}
    return {"runs": runs, "differing": differing, "first_difference": first}


def warm(device: Device, parts: Mapping[str, Step]) -> dict[str, bool]:
    """Whether each part gives now, after everything that ran, the bits of its very first run in this process.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    import torch

    found = {}
    for name, step in parts.items():
        with runtime_errors(device, f"running {name} warm"), torch.inference_mode():
            output = step.run()
            device.synchronize()
        found[name] = same_bits(output.cpu(), step.output.cpu())
    return found


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
        said = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        why = f"exit code {done.returncode}: {said[-1] if said else 'it said nothing'}"
    except subprocess.TimeoutExpired:
        said, why = [], f"no answer in {limit:g} s"
    answer = next((line for line in said if line.startswith(ANSWER)), None)
    if answer is None:
        raise DeviceError(
            f"a second process on {session.context.device} failed: {why}", next="nox -s verify -- --level 1"
        )
    return [(name, digest) for name, digest in json.loads(answer.removeprefix(ANSWER))]


def first_difference(one: Digests, other: Digests) -> str | None:
    """The name of the first point that two processes do not agree on."""
    if len(one) != len(other):
        return f"{len(one)} points against {len(other)}"
    return next((mine[0] for mine, theirs in zip(one, other, strict=True) if mine != theirs), None)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m verify.checks.repeatability", allow_abbrev=False)
    parser.add_argument("--context", required=True, help="the Context as JSON")
    session = Verification(Context.from_json(parser.parse_args(argv).context))
    repeats = Repeats(session.model, session.inputs, deep=session.layer_by_layer)
    print(ANSWER + json.dumps(repeats.digests()), flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)

RUNS, RUNS_FULL = 10, 3
RUNS_SHARP = 50  # in float32, where noise of 1e-6 still changes bits


def check(session: Verification) -> Outcome:
    """The same bits again, in another process, after warm-up; and in every row of a batch, up to the dtype's noise."""
    loaded, inputs, small = session.model, session.inputs, session.layer_by_layer
    asked = Repeats(loaded, inputs, deep=small)
    loaded.device.empty_cache()  # the other process loads the model once more
    limit = PROCESS_LIMIT_S if small else PROCESS_LIMIT_FULL_S
    with ThreadPoolExecutor(1) as beside:  # half of the check's time is that process's imports
        other = beside.submit(in_another_process, session, limit)
        data: dict[str, Any] = {
            "repeats": repeat(asked, at_least=RUNS if small else RUNS_FULL, seconds=0.0),
            "warm": warm(loaded.device, session.parts),
            "batch": asked.at_every_place() | {"limit": 2 * logits_bound(loaded, session.reference).rel_l2},
        }
        sharp = session.bundled
        fine = Repeats(sharp.model, sharp.inputs, deep=True)
        data["repeats_sharp"] = repeat(fine, at_least=RUNS_SHARP, seconds=0.0)
        there = other.result()
    data["process"] = {
        "points": len(there),
        "first_difference": first_difference(asked.digests(), there),
    }
    problems = found_in(data)
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, session.signature())
    runs = data["repeats"]["runs"]
    reason = f"the same bits in {runs} runs, {data['repeats_sharp']['runs']} in float32, and in another process"
    return Outcome(Status.PASS, reason, data, session.signature(n=runs))


def found_in(data: dict[str, Any]) -> list[str]:
    """What was not the same, the layer named."""
    problems = []
    for key, where in (("repeats", ""), ("repeats_sharp", " (float32)")):
        one = data[key]
        if one["differing"]:
            first = one["first_difference"]
            problems.append(
                f"{one['differing']} of {one['runs']} runs differ{where}, "
                f"the first in run {first['run']}: {first['name']}"
            )
    cold = [name for name, identical in data["warm"].items() if not identical]
    if cold:
        problems.append(f"not the bits of the first run of this process: {', '.join(cold)}")
    if data["process"]["first_difference"]:
        problems.append(f"another process gives other bits: {data['process']['first_difference']}")
    apart, limit = data["batch"]["logits_rel_l2"], data["batch"]["limit"]
    if apart is None or apart > limit:
        problems.append(f"rows of one batch with the same inputs differ by {apart}, beyond noise ({limit:.1e})")
    return problems
