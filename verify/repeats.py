"""The same inputs, the same bits: again in this process, in another one, warm, and at another place in a batch.

`python -m verify.repeats` is the other process: it says what it computed, a digest a point.
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
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.errors import DeviceError, run_main
from env.stack import ROOT
from model import components
from model.components import Inputs, Loaded, Step
from model.device import Device, failures
from verify import numerics
from verify.context import Context
from verify.layers import LOGITS
from verify.parity import as_array
from verify.weights import same_bits

if TYPE_CHECKING:
    import torch

    from model.layers import Point

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
                if point.layer == LOGITS and point.edge == "out of":
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

        from model.layers import Taps

        loaded = self._loaded
        features = inputs.features.to(loaded.torch_dtype).to(loaded.device.torch_device)
        ids = inputs.input_ids.to(loaded.device.torch_device)
        with failures(loaded.device, "repeating a pass"), torch.inference_mode():
            with Taps(loaded.model, lambda point, tensor: see(point, tensor.detach().cpu()), deep=self._deep):
                components.forward(loaded.model, features, ids)
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
        with failures(device, f"running {name} warm"), torch.inference_mode():
            output = step.run()
            device.synchronize()
        found[name] = same_bits(output.cpu(), step.output.cpu())
    return found


def in_another_process(context: Context, limit: float = PROCESS_LIMIT_S) -> Digests:
    """What a fresh process on the same device computes, within `limit` seconds.

    Raises:
        DeviceError: it did not answer; its last line says why.
    """
    # asdict copies what it meets, and `shared` holds the model: a second one on the device.
    options = asdict(replace(context, shared={})) | {"run_folder": str(context.run_folder)}
    command = [sys.executable, "-m", "verify.repeats", "--context", json.dumps(options)]
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
        raise DeviceError(f"a second process on {context.device} failed: {why}", next="nox -s verify -- --level 1")
    return [(name, digest) for name, digest in json.loads(answer.removeprefix(ANSWER))]


def first_difference(one: Digests, other: Digests) -> str | None:
    """The name of the first point that two processes do not agree on."""
    if len(one) != len(other):
        return f"{len(one)} points against {len(other)}"
    return next((mine[0] for mine, theirs in zip(one, other, strict=True) if mine != theirs), None)


def main(argv: Sequence[str] | None = None) -> int:
    from verify import subject

    parser = argparse.ArgumentParser(prog="python -m verify.repeats", allow_abbrev=False)
    parser.add_argument("--context", required=True, help="the Context as JSON")
    options = json.loads(parser.parse_args(argv).context)
    context = Context(**options | {"run_folder": Path(options["run_folder"])})
    loaded, inputs = subject.the_model(context), subject.the_inputs(context)
    repeats = Repeats(loaded, inputs, deep=subject.is_small(context))
    print(ANSWER + json.dumps(repeats.digests()), flush=True)
    return 0


if __name__ == "__main__":
    run_main(main)
