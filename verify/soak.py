"""The same work again and again under load, looking for a device that is only sometimes wrong, or slows, or leaks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from model import generation
from model.components import Inputs, Loaded
from model.device import Device
from verify.repeats import Repeats

TOKENS = 8  # decoded in every round
WARM_ROUNDS = 3  # before times and memory count
LISTED = 20
SETTLED = 5  # the fewest rounds that a drift is taken from


def measure(
    loaded: Loaded,
    inputs: Inputs,
    wide: Inputs,
    *,
    deep: bool,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Rounds until `seconds` are over: a pass of `inputs`, a pass of the larger `wide`, and a decoding, each compared
    bit by bit with the first round's.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    narrow, large = Repeats(loaded, inputs, deep=deep), Repeats(loaded, wide, deep=deep)
    tokens = generation.generate(loaded, inputs, TOKENS).tokens
    mismatches: list[dict[str, Any]] = []
    times, memory = [], []
    rounds = wrong = 0
    started = clock()
    while rounds < WARM_ROUNDS + SETTLED or clock() - started < seconds:
        begun = clock()
        points = [narrow.again(), large.again()]
        decoded = generation.generate(loaded, inputs, TOKENS).tokens
        times.append(clock() - begun)
        memory.append(held_bytes(loaded.device))
        rounds += 1
        named = [point.name for point in points if point is not None]
        if not bool((decoded == tokens).all()):
            named.append("the decoded tokens")
        if named:
            wrong += 1
            mismatches.append({"round": rounds, "at_s": clock() - started, "first": named[0], "count": len(named)})
    return {
        "seconds": clock() - started,
        "rounds": rounds,
        "passes": 2 * rounds,
        "tokens": TOKENS * rounds,
        "mismatches": wrong,
        "listed": mismatches[:LISTED],
        "time": drift(times[WARM_ROUNDS:]),
        "memory": drift(memory[WARM_ROUNDS:]) | {"kind": "rss" if loaded.device.kind == "cpu" else "device"},
    }


def drift(values: list[float]) -> dict[str, float]:
    """Medians of the first and the last fifth, the worst value, and the last over the first less one.

    Raises:
        ValueError: fewer than `SETTLED` values.
    """
    if len(values) < SETTLED:
        raise ValueError(f"{len(values)} values, {SETTLED} needed")
    part = max(1, len(values) // 5)
    first, last = float(np.median(values[:part])), float(np.median(values[-part:]))
    return {"first": first, "last": last, "worst": float(max(values)), "drift": last / first - 1 if first else 0.0}


def held_bytes(device: Device) -> float:
    """Bytes that tensors hold on the device now; on a CPU, what the process holds in memory."""
    if device.kind == "cpu":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return float(pages * os.sysconf("SC_PAGE_SIZE"))
    import torch

    return float(getattr(torch, device.kind).memory_allocated(device.index))
