"""The same work again and again under load, looking for a device that is only sometimes wrong, or slows, or leaks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from msgspec import structs

from env.language import _, joined
from model import generation
from model.components import Inputs, Loaded, make_inputs
from model.device import Device
from verify.checks.repeatability import Repeats
from verify.run import card
from verify.run.card import Watch
from verify.run.figures.repeats import DriftFigures, MemoryDriftFigures, MismatchFigures, SoakFigures, SoakSeries
from verify.run.judgement import of_soak
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

TOKENS = 8  # decoded in every round
WARM_ROUNDS = 3  # before times and memory count
LISTED = 20
SERIES = 240  # parts that a series is kept in: what a plot can show
SETTLED = 5  # the fewest rounds that a drift is taken from


def measure(
    loaded: Loaded,
    inputs: Inputs,
    wide: Inputs,
    *,
    deep: bool,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> SoakFigures:
    """Rounds until `seconds` are over: a pass of `inputs`, a pass of the larger `wide`, and a decoding, each compared
    bit by bit with the first round's.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    narrow, large = Repeats(loaded, inputs, deep=deep), Repeats(loaded, wide, deep=deep)
    tokens = generation.generate(loaded, inputs, TOKENS).tokens
    mismatches: list[MismatchFigures] = []
    times, memory, ends = [], [], []
    rounds = 0
    started = clock()
    while rounds < WARM_ROUNDS + SETTLED or clock() - started < seconds:
        begun = clock()
        points = [narrow.again(), large.again()]
        decoded = generation.generate(loaded, inputs, TOKENS).tokens
        ends.append(clock())
        times.append(ends[-1] - begun)
        memory.append(held_bytes(loaded.device))
        rounds += 1
        named = [point.name for point in points if point is not None]
        if not bool((decoded == tokens).all()):
            named.append(_("the decoded tokens"))
        if named:
            mismatches.append(MismatchFigures(round=rounds, at_s=clock() - started, first=named[0], count=len(named)))
    held = drift(memory[WARM_ROUNDS:])
    return SoakFigures(
        seconds=clock() - started,
        rounds=rounds,
        passes=2 * rounds,
        tokens=TOKENS * rounds,
        mismatches=len(mismatches),
        listed=mismatches[:LISTED],
        time=drift(times[WARM_ROUNDS:]),
        memory=MemoryDriftFigures(**structs.asdict(held), kind="rss" if loaded.device.kind == "cpu" else "device"),
        series=series([end - started for end in ends], times, memory),
    )


def series(ends: list[float], times: list[float], memory: list[float]) -> SoakSeries:
    """Rounds in at most `SERIES` parts, the last of which may hold fewer."""
    size = -(-len(times) // SERIES)
    starts = range(0, len(times), size)
    return SoakSeries(
        at_s=[round(ends[min(start + size, len(ends)) - 1], 3) for start in starts],
        time_s=[float(np.median(times[start : start + size])) for start in starts],
        longest_s=[max(times[start : start + size]) for start in starts],
        memory_bytes=[memory[min(start + size, len(memory)) - 1] for start in starts],
    )


def drift(values: list[float]) -> DriftFigures:
    """Medians of the first and the last fifth, the worst value, and the last over the first less one.

    Raises:
        ValueError: fewer than `SETTLED` values.
    """
    if len(values) < SETTLED:
        raise ValueError(f"{len(values)} values, {SETTLED} needed")
    part = max(1, len(values) // 5)
    first, last = float(np.median(values[:part])), float(np.median(values[-part:]))
    return DriftFigures(first=first, last=last, worst=float(max(values)), drift=last / first - 1 if first else 0.0)


def held_bytes(device: Device) -> float:
    """Bytes that tensors hold on the device now; on a CPU, what the process holds in memory."""
    if device.kind == "cpu":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return float(pages * os.sysconf("SC_PAGE_SIZE"))
    return float(getattr(torch, device.kind).memory_allocated(device.index))


SOAK_BATCH, SOAK_LENGTH = 4, 4  # rows, and times the run's own length: the load


def check(session: Verification) -> Outcome:
    """Rounds for the run's --minutes: nothing may ever differ. Drift of time and memory is reported."""
    loaded, inputs = session.model, session.inputs
    wide = make_inputs(loaded.architecture, SOAK_BATCH, SOAK_LENGTH * inputs.frames, session.seed)
    with Watch(loaded.device) as watch:
        figures = measure(loaded, inputs, wide, deep=session.layer_by_layer, seconds=60 * session.context.minutes)
    figures = structs.replace(figures, card=watch.figures)
    signature = session.signature(n=figures.rounds)
    if problems := of_soak(figures):
        return failed(problems, figures, signature)
    reason = _(
        "{rounds} rounds in {minutes:.1f} minutes, the same bits; time {time:+.1%}, memory {memory:+.1%}",
        rounds=figures.rounds,
        minutes=figures.seconds / 60,
        time=figures.time.drift,
        memory=figures.memory.drift,
    )
    slowdown = card.slowed(figures.card)
    return passed(joined(reason, slowdown) if slowdown else reason, figures, signature)
