"""How fast: device-synchronised times of each component and of real decoding, beside the machine's measured floors."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from msgspec import structs

from env.language import Message, _, joined
from model import startup
from model.components import Inputs, Loaded, Step, torch_dtype
from model.device import Device, emulated, runtime_errors
from model.generation import generate
from model.memory import available
from model.size import FULL_SIZE
from verify.reference import chip_times, copies
from verify.reference.chip_times import ReferenceTime
from verify.run import card
from verify.run.card import Watch
from verify.run.figures.benchmark import (
    BenchmarkFigures,
    DecodeFigures,
    FirstCallFigures,
    FloorsFigures,
    MemoryFigures,
    PerTokenFigures,
    SummaryFigures,
    TimesFigures,
)
from verify.run.judgement import of_card, of_copies
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

DECODE_TOKENS = 16
MINIMUM_ROUNDS = 3  # below this a percentile says nothing
# Weights that fit a CPU's last-level cache are not read from memory again; only larger ones have a memory floor.
BEYOND_CACHE_BYTES = 256 * 2**20
READ_BYTES = 256 * 2**20
GEMM_SIZES = (128, 256, 512, 1024, 2048)
GEMM_SIZES_CARD = (4096, 8192)  # 2048 last some 60 us at 300 TFLOP/s, which is little more than a launch
GEMM_CALL_S = 0.25  # no larger matrix is tried once a product takes this long
FLOOR_SECONDS = 1.0
QUICK_FLOOR_SECONDS = 0.1  # below level 3, where both rates may take three seconds with all that is around them
IN_A_PASS = ("encoder", "projector", "language_model")
PASS = ("encoder", "projector", "splice", "language_model")  # what the model's own forward pass does, in order


def summary(samples_ms: Sequence[float]) -> SummaryFigures:
    """Mean and percentiles in milliseconds; percentiles are linearly interpolated between the ordered samples.

    Raises:
        ValueError: no samples.
    """
    if not samples_ms:
        raise ValueError("no samples")
    p50, p90, p99 = np.percentile(samples_ms, (50, 90, 99), method="linear")
    return SummaryFigures(mean_ms=float(np.mean(samples_ms)), p50_ms=float(p50), p90_ms=float(p90), p99_ms=float(p99))


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
    floor_s: float | None = None,
    budget_s: float | None = None,
) -> BenchmarkFigures:
    """Load, components, the whole, decoding, memory, and with `floors` the machine's, `floor_s` spent on each rate.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    device = loaded.device
    before = measure_floors(device, loaded.dtype, floor_s) if floors else None
    reset, used = device.reset_peak_memory(), device.used_memory()
    times = {name: _time_part(loaded, step, warmup, rounds, budget_s) for name, step in parts.items()}
    decode = measure_decode(loaded, inputs, runs=max(1, min(rounds, MINIMUM_ROUNDS)), budget_s=budget_s)
    memory = MemoryFigures(
        **device.peak_memory(),
        since="benchmark" if reset else "process start",
        device_before_bytes=used,
        device_after_bytes=device.used_memory(),
    )
    # Once more at the end, where there is time: a neighbour that slowed the first would otherwise raise every floor.
    again = floors and floor_s is None
    machine = better(before, measure_floors(device, loaded.dtype)) if before and again else before
    if machine is not None:
        times, decode = _with_floors(machine, loaded, inputs, times, decode)
    return BenchmarkFigures(
        load_s=loaded.seconds,
        total=times.pop("end_to_end"),
        components=times,
        decode=decode,
        memory=memory,
        floors=machine,
    )


def better(one: FloorsFigures, other: FloorsFigures) -> FloorsFigures:
    """The higher of each rate."""
    return FloorsFigures(
        read_gb_s=max(one.read_gb_s, other.read_gb_s), gemm_gflop_s=max(one.gemm_gflop_s, other.gemm_gflop_s)
    )


def _time_part(loaded: Loaded, step: Step, warmup: int, rounds: int, budget_s: float | None) -> TimesFigures:
    device = loaded.device
    with runtime_errors(device, f"timing {step.name}"), torch.inference_mode():
        warm, steady = time_calls(step.run, device.synchronize, warmup=warmup, rounds=rounds, budget_s=budget_s)
    figures = summary(steady)
    return TimesFigures(
        cold_ms=loaded.first_ms[step.name],
        warm_ms=warm,
        samples_ms=steady,
        **structs.asdict(figures),
        steps_per_s=1e3 / figures.mean_ms,
        floor_ms=None,
    )


def _with_floors(
    machine: FloorsFigures, loaded: Loaded, inputs: Inputs, times: Mapping[str, TimesFigures], decode: DecodeFigures
) -> tuple[dict[str, TimesFigures], DecodeFigures]:
    """Every time with its floor; the whole's is the sum of the parts that it runs, one token's has one row."""
    work = loaded.architecture.work(inputs.batch, inputs.frames, inputs.positions)
    floors = {name: floor_ms(machine, *work[name], loaded) for name in times if name in work}
    floors["end_to_end"] = sum(floors[name] for name in IN_A_PASS)
    weights = work["language_model"][0]
    a_token = floor_ms(machine, weights, 2 * weights * inputs.batch, loaded)
    timed = {name: structs.replace(entry, floor_ms=floors.get(name)) for name, entry in times.items()}
    return timed, structs.replace(decode, floor_ms=a_token)


def measure_decode(loaded: Loaded, inputs: Inputs, *, runs: int, budget_s: float | None = None) -> DecodeFigures:
    """Greedy decoding by the library's generate after one untimed run: time to the first token, then per token.

    `tokens_per_s` counts the tokens after the first, of all rows of the batch.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    generate(loaded, inputs, 2)
    prefill: list[float] = []
    steps: list[float] = []
    for _run in range(runs):
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
    return DecodeFigures(
        tokens=DECODE_TOKENS,
        runs=len(prefill),
        tokens_per_s=inputs.batch * 1e3 / figures.mean_ms,
        prefill_ms=summary(prefill).p50_ms,
        per_token_ms=PerTokenFigures(p50=figures.p50_ms, p90=figures.p90_ms, p99=figures.p99_ms),
        samples_ms=steps,
        prefill_samples_ms=prefill,
    )


def measure_floors(device: Device, dtype: str, seconds: float | None = None) -> FloorsFigures:
    """What this machine reaches with one operation: reading memory (GB/s) and multiplying matrices (GFLOP/s).

    The best of the repeats: a floor is what the machine can do, not what it did on average. The product is the model's
    own operator, with weights [out, in]: a CPU without instructions for bfloat16 does 20 GFLOP/s of those and 1 to 3 of
    the same product with weights [in, out] (AVX2, torch 2.9.0), and a floor from that lay above the model's own time.
    Where a dtype has no instructions large matrices take long, so sizes grow only while a product stays short.
    Of each rate `seconds` are spent, `FLOOR_SECONDS` where none are named.
    """
    budget = FLOOR_SECONDS if seconds is None else seconds
    with runtime_errors(device, "measuring the machine's floors"), torch.inference_mode():
        room = (available(device) or 2 * READ_BYTES) // 2  # a model may leave little
        read_bytes = min(READ_BYTES, room)
        block = torch.ones(read_bytes // 4, dtype=torch.float32, device=device.torch_device)
        read = _fastest(device, block.sum, budget)
        del block
        rate = 0.0
        sizes = GEMM_SIZES if device.kind == "cpu" else GEMM_SIZES + GEMM_SIZES_CARD
        for size in sizes:
            if 2 * size**2 * torch_dtype(dtype).itemsize > room:
                break
            square = torch.ones(size, size, dtype=torch_dtype(dtype), device=device.torch_device)
            product = partial(torch.nn.functional.linear, square, square)
            taken = _fastest(device, product, budget / len(sizes))
            rate = max(rate, 2 * size**3 / taken)
            if taken > GEMM_CALL_S * budget / FLOOR_SECONDS:
                break
    device.empty_cache()
    return FloorsFigures(read_gb_s=read_bytes / read / 1e9, gemm_gflop_s=rate / 1e9)


def _fastest(device: Device, run: Callable[[], object], budget_s: float) -> float:
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


def floor_ms(machine: FloorsFigures, weights: int, operations: int, loaded: Loaded) -> float:
    """The larger of weights over bandwidth and operations over rate, in milliseconds; see Architecture.work."""
    size = weights * torch_dtype(loaded.dtype).itemsize
    reading = size / machine.read_gb_s / 1e6 if size > BEYOND_CACHE_BYTES else 0.0
    return max(reading, operations / machine.gemm_gflop_s / 1e6)


FULL_LEVEL = 3  # from here on floors are measured at length, and the card is watched
BUDGET_S = 20.0  # per component; a slow device takes fewer rounds, and the signature says how many


def check(session: Verification) -> Outcome:
    """Times of every component, of the whole and of decoding, beside the machine's floors; what a process pays once,
    and the rates of copies to and from the device, which must arrive whole.
    """
    full = session.context.level >= FULL_LEVEL
    loaded, inputs, parts = session.model, session.inputs, session.parts
    with Watch(loaded.device) if full else contextlib.nullcontext() as watch:
        figures = measure(
            loaded,
            inputs,
            parts,
            warmup=session.context.warmup,
            rounds=session.context.rounds,
            floors=True,
            floor_s=None if full else QUICK_FLOOR_SECONDS,
            budget_s=BUDGET_S,
        )
        copied = copies.measure(loaded.device, *((copies.SIZES, copies.FULL_S) if full else ()))
    signature = session.signature(n=len(figures.total.samples_ms), warmup=session.context.warmup)
    rows = references(session, figures)
    beyond = _beside([row for row in rows if row.beyond])
    figures = structs.replace(
        figures,
        card=watch.figures if watch else None,
        references=rows,
        beyond_reference=beyond,
        first_calls=first_calls(loaded),
        copies=copied,
    )
    problems = [*of_card(figures.card), *of_copies(figures.copies)]
    if beyond and session.context.gate:
        problems.append(beyond)
    if problems:
        return failed(problems, figures, signature)
    reason = _(
        "{milliseconds:.1f} ms a pass, {rate:.1f} tokens/s",
        milliseconds=figures.total.p50_ms,
        rate=figures.decode.tokens_per_s,
    )
    remarks = [slowdown] if (slowdown := card.slowed(figures.card)) else []
    if rows and not beyond:
        remarks.append(_("as the reference of {times}", times=chip_times.sentence(rows)))
    return passed(joined(reason, *remarks) if remarks else reason, figures, signature)


def first_calls(loaded: Loaded) -> FirstCallFigures:
    """What this process paid once, whichever check made it do so."""
    took, first = startup.seconds, loaded.first_ms
    return FirstCallFigures(
        import_torch_s=took.get(startup.TORCH),
        import_torch_npu_s=took.get(startup.TORCH_NPU),
        set_device_s=took.get(startup.SET_DEVICE),
        import_model_s=took.get(startup.MODEL),
        compiler_s=took.get(startup.COMPILER),
        load_s=loaded.seconds,
        first_pass_ms=sum(first[name] for name in PASS),
        second_pass_ms=first["end_to_end"],
    )


def references(session: Verification, figures: BenchmarkFigures) -> list[ReferenceTime]:
    """The times beside those of the chip's own file: of full-size weights, whatever their values, on a real device."""
    device = session.device
    chip = chip_times.of(device.name) if device.kind != "cpu" and not emulated() else None
    if chip is None or session.checkpoint.parameters < FULL_SIZE or session.model.device_map is not None:
        return []
    times = {name: entry.mean_ms for name, entry in figures.components.items()} | {"total": figures.total.mean_ms}
    inputs = session.inputs
    return list(chip_times.held(chip, times, dtype=session.dtype, batch=inputs.batch, seq_len=session.context.seq_len))


def _beside(beyond: list[ReferenceTime]) -> Message | None:
    return _("beyond the reference of {times}", times=chip_times.sentence(beyond)) if beyond else None
