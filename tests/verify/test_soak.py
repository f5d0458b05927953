"""A soak finds the one wrong round in many, and says how time and memory drift."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch

from model import generation
from model.components import Inputs, Loaded, make_inputs
from model.device import resolve
from verify.checks import soak
from verify.run.figures.repeats import DriftFigures, SoakFigures
from verify.run.plan import CHECKS, planned


def ticking(step: float) -> Iterator[float]:
    return (step * n for n in count())


def run(loaded: Loaded, inputs: Inputs, seconds: float) -> SoakFigures:
    clock = ticking(1.0)
    wide = make_inputs(loaded.architecture, 2, 40, seed=1)
    return soak.measure(loaded, inputs, wide, deep=True, seconds=seconds, clock=lambda: next(clock))


def test_a_right_device_soaks_for_as_long_as_was_asked(tiny_bfloat16: Loaded, tiny_inputs: Inputs) -> None:
    found = run(tiny_bfloat16, tiny_inputs, seconds=30.0)
    assert found.mismatches == 0
    assert found.rounds == 13  # two ticks of the clock a round, and three once it is asked whether to stop
    assert found.seconds >= 30
    assert found.time == DriftFigures(first=1.0, last=1.0, worst=1.0, drift=0.0)
    assert found.memory.kind == "rss"
    assert found.memory.first > 1e6


def test_the_one_wrong_pass_is_found_and_its_layer_named(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    model = copy.deepcopy(tiny_float32.model)
    layer = "language_model.model.layers.3.mlp"
    calls = [0]

    def seldom(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return output * 1.01 if calls[0] == 11 else output  # two first passes, eight tokens: the first round's first

    model.get_submodule(layer).register_forward_hook(seldom)
    found = run(replace(tiny_float32, model=model), tiny_inputs, seconds=0.0)
    assert found.mismatches == 1
    (listed,) = found.listed
    assert (listed.round, listed.first) == (1, layer)


def test_wrong_tokens_alone_are_a_mismatch(
    tiny_float32: Loaded, tiny_inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, calls = generation.generate, [0]

    def generate(*arguments: Any) -> Any:
        calls[0] += 1
        found = right(*arguments)
        return replace(found, tokens=found.tokens + (calls[0] == 4))

    monkeypatch.setattr(generation, "generate", generate)
    found = run(tiny_float32, tiny_inputs, seconds=0.0)
    assert [(one.round, one.first) for one in found.listed] == [(3, "the decoded tokens")]


def test_drift_is_that_of_medians_and_the_worst_value_is_kept() -> None:
    values = [1.0, 9.0, 1.0, 1.0, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5]
    assert soak.drift([1.0, 1.0, *values[1:8], 1.5, 1.5]) == DriftFigures(first=1.0, last=1.5, worst=9.0, drift=0.5)
    with pytest.raises(ValueError, match="4 values, 5 needed"):
        soak.drift([1.0] * 4)


def test_a_soak_belongs_to_level_four_and_its_time_limit_follows_the_minutes() -> None:
    (check,) = (check for check in CHECKS if check.name == "soak")
    assert check not in planned(3)
    assert check in planned(4)
    assert check.limit_for(full=True, minutes=30) == check.limit + 1800
    others = [other for other in CHECKS if other is not check]
    assert all(other.limit_for(full=True, minutes=30) == other.limit_for(full=True) for other in others)


def test_what_the_process_holds_is_read_from_the_system() -> None:
    kept = torch.ones(8_000_000)
    assert soak.held_bytes(resolve("cpu")) > kept.numel() * 4


@pytest.mark.parametrize(("rounds", "parts"), [(8, 8), (240, 240), (241, 121), (4210, 234)])
def test_a_series_holds_at_most_as_many_parts_as_a_plot_shows(rounds: int, parts: int) -> None:
    ends = [float(n + 1) for n in range(rounds)]
    times = [1.0] * (rounds - 1) + [5.0]
    series = soak.series(ends, times, [7.0] * rounds)
    assert len(series.at_s) == len(series.time_s) == len(series.memory_bytes) == parts
    assert series.at_s[-1] == rounds
    assert series.longest_s[-1] == 5.0
    assert set(series.memory_bytes) == {7.0}
