from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from model.components import Inputs, Loaded, Step, run_parts
from model.device import Device
from verify.checks import determinism
from verify.run.figures.components import RepeatFigures

CPU = Device("cpu", 0, "cpu")
BASE = torch.linspace(-1, 1, 64)


def answers(*offsets: float) -> Callable[[], torch.Tensor]:
    """A component that adds one of `offsets` at each run, in turn."""
    values: Iterator[float] = iter(offsets)
    return lambda: BASE + next(values)


def measured(*offsets: float) -> RepeatFigures:
    run = answers(*offsets)
    figures = determinism.measure(CPU, {"encoder": Step("encoder", run, run())}, runs=len(offsets))
    return figures.components["encoder"]


def test_the_model_repeats_itself_bit_for_bit(tiny_bfloat16: Loaded, tiny_inputs: Inputs) -> None:
    found = determinism.measure(CPU, run_parts(tiny_bfloat16, tiny_inputs), runs=3)
    assert found.runs == 3
    assert len(found.components) == 6
    for entry in found.components.values():
        assert entry == RepeatFigures(identical=True, finite=True, rel_l2=0.0, recipe_passed=True)


def test_one_different_bit_in_one_run_is_seen_and_the_recipe_would_have_passed_it() -> None:
    entry = measured(0.0, 0.0, 1e-6, 0.0)
    assert entry.identical is False
    assert entry.recipe_passed is True
    assert entry.rel_l2 == pytest.approx(1e-6 * 8 / float(BASE.norm()), rel=0.1)


def test_the_recipe_s_limit_is_one_percent() -> None:
    unit = float(BASE.norm()) / 8  # a constant offset of this is a relative error of 1
    assert measured(0.0, 0.0099 * unit).recipe_passed is True
    assert measured(0.0, 0.0101 * unit).recipe_passed is False


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_run_that_is_not_finite_passes_nothing(bad: float) -> None:
    assert measured(0.0, 0.0, bad) == RepeatFigures(identical=False, finite=False, rel_l2=None, recipe_passed=False)


def test_a_component_of_noise_fails(tiny_float32: Loaded, tiny_inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tiny_float32.model.projector.forward
    monkeypatch.setattr(tiny_float32.model.projector, "forward", lambda x: original(x) * (1 + 1e-6 * torch.randn(1)))
    found = determinism.measure(CPU, run_parts(tiny_float32, tiny_inputs), runs=3).components
    different = {name for name, entry in found.items() if not entry.identical}
    assert different == {"projector", "end_to_end"}  # the others keep the inputs of the first run
