from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from model.components import Inputs, Loaded, run_parts
from model.device import Device, resolve
from verify.checks import benchmark
from verify.checks.benchmark import floor_ms, summary, time_calls
from verify.run.figures.benchmark import FloorsFigures, SummaryFigures


def clock_of(*durations: float) -> Callable[[], float]:
    """A clock for `time_calls`: each call takes the next of `durations` (seconds)."""
    edges = [0.0, *itertools.accumulate(durations)]
    ticks = iter([edge for start, end in itertools.pairwise(edges) for edge in (start, end)])
    return lambda: next(ticks)


def timed(
    *durations: float, warmup: int = 0, rounds: int = 10, budget_s: float | None = None
) -> tuple[list[float], list[float]]:
    def nothing() -> None:
        pass

    return time_calls(nothing, nothing, warmup=warmup, rounds=rounds, budget_s=budget_s, clock=clock_of(*durations))


def test_warm_up_and_steady_rounds_are_kept_apart_in_milliseconds() -> None:
    warm, steady = timed(4.0, 2.0, 1.0, 1.0, 1.0, warmup=2, rounds=3)
    assert (warm, steady) == ([4000.0, 2000.0], [1000.0, 1000.0, 1000.0])


def test_the_device_is_waited_for_before_and_after_every_call() -> None:
    events: list[str] = []
    clock = iter(range(100))

    def tick() -> float:
        events.append("clock")
        return float(next(clock))

    time_calls(lambda: events.append("run"), lambda: events.append("wait"), warmup=1, rounds=1, clock=tick)
    assert events == ["wait", "clock", "run", "wait", "clock"] * 2


@pytest.mark.parametrize(
    ("budget_s", "rounds", "taken"),
    [(None, 10, 10), (25.0, 10, 6), (0.0, 10, 3), (0.0, 2, 2), (1000.0, 10, 10)],
)
def test_a_budget_stops_the_rounds_but_never_below_three(budget_s: float | None, rounds: int, taken: int) -> None:
    _, steady = timed(*[5.0] * 10, rounds=rounds, budget_s=budget_s)
    assert len(steady) == taken


def test_percentiles_are_the_standard_library_s_inclusive_ones() -> None:
    samples = [12.0, 10.0, 11.0, 19.0, 10.5, 13.0, 10.0]
    cuts = statistics.quantiles(samples, n=100, method="inclusive")  # linear interpolation, as documented
    found = summary(samples)
    assert [found.p50_ms, found.p90_ms, found.p99_ms] == pytest.approx([cuts[49], cuts[89], cuts[98]])
    assert found.mean_ms == pytest.approx(statistics.fmean(samples))


def test_one_sample_is_every_percentile() -> None:
    assert summary([7.0]) == SummaryFigures(mean_ms=7.0, p50_ms=7.0, p90_ms=7.0, p99_ms=7.0)


def test_no_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summary([])


def test_a_floor_is_the_larger_of_reading_and_computing(tiny_bfloat16: Loaded) -> None:
    machine = FloorsFigures(read_gb_s=10.0, gemm_gflop_s=100.0)
    weights = 1_000_000_000  # 2 GB in bfloat16: 200 ms at 10 GB/s
    assert floor_ms(machine, weights, 0, tiny_bfloat16) == pytest.approx(200.0)
    assert floor_ms(machine, weights, 50_000_000_000, tiny_bfloat16) == pytest.approx(500.0)


def test_weights_that_fit_the_cache_have_no_memory_floor(tiny_bfloat16: Loaded) -> None:
    machine = FloorsFigures(read_gb_s=10.0, gemm_gflop_s=100.0)
    assert floor_ms(machine, 1_000_000, 2_000_000, tiny_bfloat16) == pytest.approx(0.02)


@pytest.fixture(scope="module")
def measured(tiny_bfloat16: Loaded, tiny_inputs: Inputs) -> Any:
    parts = run_parts(tiny_bfloat16, tiny_inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "FLOOR_SECONDS", 0.05)
        patch.setattr(benchmark, "READ_BYTES", 2**22)
        patch.setattr(benchmark, "GEMM_SIZES", (128, 256))
        return benchmark.measure(tiny_bfloat16, tiny_inputs, parts, warmup=1, rounds=4, floors=True)


def test_every_component_and_the_whole_are_timed(measured: Any) -> None:
    assert set(measured.components) == {"encoder", "ctc_head", "projector", "splice", "language_model"}
    for entry in [*measured.components.values(), measured.total]:
        assert len(entry.samples_ms) == 4
        assert len(entry.warm_ms) == 1
        assert min(entry.samples_ms) > 0
        assert entry.steps_per_s == pytest.approx(1e3 / statistics.fmean(entry.samples_ms))
        assert entry.cold_ms


def test_the_floor_of_the_whole_is_the_sum_of_its_parts(measured: Any) -> None:
    parts = [measured.components[name].floor_ms for name in ("encoder", "projector", "language_model")]
    assert measured.total.floor_ms == pytest.approx(sum(parts))


def test_decoding_is_timed_token_by_token(measured: Any) -> None:
    decode = measured.decode
    samples = decode.samples_ms
    assert decode.runs == 3
    assert len(samples) == 3 * (benchmark.DECODE_TOKENS - 1)
    assert decode.tokens_per_s == pytest.approx(1e3 / statistics.fmean(samples))


def test_memory_and_floors_are_measured(measured: Any) -> None:
    assert measured.memory.peak_bytes > 50e6
    assert measured.floors.read_gb_s > 0.1
    assert measured.floors.gemm_gflop_s > 0.1


def test_floors_are_the_better_of_two_measurements(
    tiny_bfloat16: Loaded, tiny_inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([FloorsFigures(read_gb_s=1.0, gemm_gflop_s=9.0), FloorsFigures(read_gb_s=2.0, gemm_gflop_s=8.0)])
    monkeypatch.setattr(benchmark, "measure_floors", lambda device, dtype, seconds=None: next(rates))
    parts = run_parts(tiny_bfloat16, tiny_inputs)
    found = benchmark.measure(tiny_bfloat16, tiny_inputs, parts, warmup=0, rounds=1, floors=True)
    assert found.floors == FloorsFigures(read_gb_s=2.0, gemm_gflop_s=9.0)


def test_a_slow_matrix_product_is_not_tried_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def fastest(device: Device, run: Callable[[], object], budget_s: float = 1.0) -> float:
        tried.append(budget_s)
        return float(10.0 ** (len(tried) - 3))  # of reading, then of each size: 0.1 s, 1 s, ...

    monkeypatch.setattr(benchmark, "_fastest", fastest)
    rates = benchmark.measure_floors(resolve("cpu"), "float32")
    assert len(tried) == 3  # reading, and two of five sizes
    assert rates.gemm_gflop_s == pytest.approx(2 * 128**3 / 0.1 / 1e9)  # the better of the two


def test_the_floors_product_is_the_models_own_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may be many times slower, and what follows from it is then no floor."""
    ran: list[object] = []

    def fastest(device: Device, run: Callable[[], object], budget_s: float = 1.0) -> float:
        ran.append(run)
        return 1.0

    monkeypatch.setattr(benchmark, "_fastest", fastest)
    benchmark.measure_floors(resolve("cpu"), "bfloat16")
    _, product = ran
    assert isinstance(product, partial)
    assert product.func is torch.nn.functional.linear
