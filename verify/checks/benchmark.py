"""How fast: device-synchronised times of each component and of real decoding, beside the machine's measured floors."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from model.components import Inputs, Loaded, Step, torch_dtype
from model.device import Device, runtime_errors
from model.generation import generate
from verify.run.records import Outcome, Status
from verify.run.verification import Verification

DECODE_TOKENS = 16
MINIMUM_ROUNDS = 3  # below this a percentile says nothing
# Weights that fit a CPU's last-level cache are not read from memory again; only larger ones have a memory floor.
BEYOND_CACHE_BYTES = 256 * 2**20
READ_BYTES = 256 * 2**20
GEMM_SIZES = (128, 256, 512, 1024, 2048)
GEMM_CALL_S = 0.25  # no larger matrix is tried once a product takes this long
FLOOR_SECONDS = 1.0


def summary(samples_ms: Sequence[float]) -> dict[str, float]:
    """Mean and percentiles in milliseconds; percentiles are linearly interpolated between the ordered samples.

    Raises:
        ValueError: no samples.
    """
    if not samples_ms:
        raise ValueError("no samples")
    p50, p90, p99 = np.percentile(samples_ms, (50, 90, 99), method="linear")
    return {"mean_ms": float(np.mean(samples_ms)), "p50_ms": float(p50), "p90_ms": float(p90), "p99_ms": float(p99)}


def time_calls(
    run: Callable[[], object],
    synchronize: Callable[[], None],
    *,
    warmup: int,
    rounds: int,
    budget_s: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """(warm-up, steady) times in milliseconds; each call ends when the device has ended.

    Once `budget_s` is spent no more rounds are begun, but `MINIMUM_ROUNDS` are always taken (or `rounds`, if fewer).
    """

    def one() -> float:
        synchronize()
        started = clock()
        run()
        synchronize()
        return (clock() - started) * 1e3

    warm = [one() for _ in range(warmup)]
    steady: list[float] = []
    while len(steady) < rounds:
        if budget_s is not None and len(steady) >= MINIMUM_ROUNDS and sum(steady) / 1e3 > budget_s:
            break
        steady.append(one())
    return warm, steady


def measure(
    loaded: Loaded,
    inputs: Inputs,
    parts: Mapping[str, Step],
    *,
    warmup: int,
    rounds: int,
    floors: bool = False,
    budget_s: float | None = None,
) -> dict[str, Any]:
    """The benchmark record's data: load, components, total, decode, memory, floors.

    `cold_ms` is a component's first call in this process, whichever check made it.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    device = loaded.device
    before = measure_floors(device, loaded.dtype) if floors else None
    reset = device.reset_peak_memory()
    times = {name: _time_part(loaded, step, warmup, rounds, budget_s) for name, step in parts.items()}
    decode = measure_decode(loaded, inputs, runs=max(1, min(rounds, MINIMUM_ROUNDS)), budget_s=budget_s)
    memory = {**device.peak_memory(), "since": "benchmark" if reset else "process start"}
    machine = None
    if before is not None:
        # Once more at the end: a neighbour that slowed one of the two would otherwise raise every floor.
        after = measure_floors(device, loaded.dtype)
        machine = {name: max(rate, after[name]) for name, rate in before.items()}
    _set_floors(machine, loaded, inputs, times, decode)
    return {
        "load_s": loaded.seconds,
        "total": times.pop("end_to_end"),
        "components": times,
        "decode": decode,
        "memory": memory,
        "floors": machine,
        "percentiles": "linear interpolation",
    }


def _time_part(loaded: Loaded, step: Step, warmup: int, rounds: int, budget_s: float | None) -> dict[str, Any]:
    import torch

    device = loaded.device
    with runtime_errors(device, f"timing {step.name}"), torch.inference_mode():
        warm, steady = time_calls(step.run, device.synchronize, warmup=warmup, rounds=rounds, budget_s=budget_s)
    figures = summary(steady)
    return {
        "cold_ms": loaded.first_ms[step.name],
        "warm_ms": warm,
        "samples_ms": steady,
        **figures,
        "steps_per_s": 1e3 / figures["mean_ms"],
    }


def _set_floors(
    machine: Mapping[str, float] | None,
    loaded: Loaded,
    inputs: Inputs,
    times: dict[str, dict[str, Any]],
    decode: dict[str, Any],
) -> None:
    """Put `floor_ms` beside every time; the whole's is the sum of the parts that it runs, one token's has one row."""
    work = loaded.architecture.work(inputs.batch, inputs.frames, inputs.positions)
    for name, entry in times.items():
        entry["floor_ms"] = floor_ms(machine, *work[name], loaded) if name in work else None
    if machine is not None:
        in_a_pass = ("encoder", "projector", "language_model")
        times["end_to_end"]["floor_ms"] = sum(times[name]["floor_ms"] for name in in_a_pass)
    weights = work["language_model"][0]
    decode["floor_ms"] = floor_ms(machine, weights, 2 * weights * inputs.batch, loaded)


def measure_decode(loaded: Loaded, inputs: Inputs, *, runs: int, budget_s: float | None = None) -> dict[str, Any]:
    """Greedy decoding by the library's generate after one untimed run: time to the first token, then per token.

    `tokens_per_s` counts the tokens after the first, of all rows of the batch.
    """
    generate(loaded, inputs, 2)
    prefill: list[float] = []
    steps: list[float] = []
    for _ in range(runs):
        stamps = [time.perf_counter()]

        def stamp(stamps: list[float] = stamps) -> None:
            loaded.device.synchronize()
            stamps.append(time.perf_counter())

        generate(loaded, inputs, DECODE_TOKENS, on_token=stamp)
        durations = [(later - earlier) * 1e3 for earlier, later in itertools.pairwise(stamps)]
        prefill.append(durations[0])
        steps += durations[1:]
        if budget_s is not None and sum(prefill + steps) / 1e3 > budget_s:
            break
    figures = summary(steps)
    return {
        "tokens": DECODE_TOKENS,
        "runs": len(prefill),
        "tokens_per_s": inputs.batch * 1e3 / figures["mean_ms"],
        "prefill_ms": summary(prefill)["p50_ms"],
        "per_token_ms": {name: figures[f"{name}_ms"] for name in ("p50", "p90", "p99")},
        "samples_ms": steps,
        "prefill_samples_ms": prefill,
    }


def measure_floors(device: Device, dtype: str) -> dict[str, float]:
    """What this machine reaches with one plain operation: reading memory (GB/s) and multiplying matrices (GFLOP/s).

    The best of the repeats: a floor is what the machine can do, not what it did on average. The product is the model's
    own operator, with weights [out, in]: a CPU without instructions for bfloat16 does 20 GFLOP/s of those and 1 to 3 of
    the same product with weights [in, out] (AVX2, torch 2.9.0), and a floor from that lay above the model's own time.
    Where a dtype has no instructions large matrices take long, so sizes grow only while a product stays short.
    """
    import torch

    with runtime_errors(device, "measuring the machine's floors"), torch.inference_mode():
        block = torch.ones(READ_BYTES // 4, dtype=torch.float32, device=device.torch_device)
        read = _fastest(device, block.sum)
        del block
        rate = 0.0
        for size in GEMM_SIZES:
            square = torch.ones(size, size, dtype=torch_dtype(dtype), device=device.torch_device)
            product = partial(torch.nn.functional.linear, square, square)
            seconds = _fastest(device, product, FLOOR_SECONDS / len(GEMM_SIZES))
            rate = max(rate, 2 * size**3 / seconds)
            if seconds > GEMM_CALL_S:
                break
    device.empty_cache()
    return {"read_gb_s": READ_BYTES / read / 1e9, "gemm_gflop_s": rate / 1e9}


def _fastest(device: Device, run: Callable[[], object], budget_s: float = FLOOR_SECONDS) -> float:
    """Seconds of the fastest call of those begun within `budget_s`, after one call that does not count."""
    run()
    best = float("inf")
    until = time.perf_counter() + budget_s
    while time.perf_counter() < until:
        device.synchronize()
        started = time.perf_counter()
        run()
        device.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def floor_ms(machine: Mapping[str, float] | None, weights: int, operations: int, loaded: Loaded) -> float | None:
    """The larger of weights over bandwidth and operations over rate, in milliseconds; see Architecture.work."""
    if machine is None:
        return None
    size = weights * torch_dtype(loaded.dtype).itemsize
    reading = size / machine["read_gb_s"] / 1e6 if size > BEYOND_CACHE_BYTES else 0.0
    return max(reading, operations / machine["gemm_gflop_s"] / 1e6)


FLOORS_FROM_LEVEL = 3
BUDGET_S = 20.0  # per component; a slow device takes fewer rounds, and the signature says how many


def check(session: Verification) -> Outcome:
    """Times of every component, of the whole and of decoding; from level 3 on beside the machine's floors."""
    data = measure(
        session.model,
        session.inputs,
        session.parts,
        warmup=session.context.warmup,
        rounds=session.context.rounds,
        floors=session.context.level >= FLOORS_FROM_LEVEL,
        budget_s=BUDGET_S,
    )
    taken = session.signature(n=len(data["total"]["samples_ms"]), warmup=session.context.warmup)
    reason = f"{data['total']['p50_ms']:.1f} ms a pass, {data['decode']['tokens_per_s']:.1f} tokens/s"
    return Outcome(Status.PASS, reason, data, taken)
