"""A device that gives other bits is caught and the layer named: by chance, now and then, after a while, by place."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from env.errors import DeviceError
from model.components import Inputs, Loaded, run_parts
from verify.checks import repeatability as repeats
from verify.checks.repeatability import Repeats
from verify.run.context import Context
from verify.run.figures.repeats import DifferenceFigures
from verify.run.verification import Verification

LAYER = "encoder.layers.2.ff1.up_proj"


def hooked(loaded: Loaded, change: Callable[[int, torch.Tensor], torch.Tensor], layer: str = LAYER) -> Loaded:
    """`change` is given the number of the call, from 1, and what leaves the layer."""
    model = copy.deepcopy(loaded.model)
    calls = [0]

    def hook(module: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return change(calls[0], output)

    model.get_submodule(layer).register_forward_hook(hook)
    return replace(loaded, model=model)


def _noise(call: int, output: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(call)
    return output * (1 + 1e-6 * torch.randn(output.shape, generator=generator))


def test_noise_of_a_millionth_is_caught_in_float32_and_its_layer_named(
    tiny_float32: Loaded, tiny_inputs: Inputs
) -> None:
    found = repeats.repeat(Repeats(hooked(tiny_float32, _noise), tiny_inputs, deep=True), at_least=3, seconds=0)
    assert found.differing == 2
    assert found.first_difference == DifferenceFigures(run=2, name=LAYER, layer=LAYER)


def test_one_wrong_run_in_many_is_caught(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    seldom = hooked(tiny_float32, lambda call, output: output * 1.01 if call == 7 else output)
    found = repeats.repeat(Repeats(seldom, tiny_inputs, deep=True), at_least=10, seconds=0)
    assert (found.runs, found.differing) == (10, 1)
    assert found.first_difference is not None
    assert found.first_difference.run == 7


def test_a_right_model_repeats_itself(tiny_bfloat16: Loaded, tiny_inputs: Inputs) -> None:
    one = Repeats(tiny_bfloat16, tiny_inputs, deep=True)
    assert repeats.repeat(one, at_least=3, seconds=0).differing == 0
    assert one.at_every_place().identical is True
    assert repeats.first_difference(one.digests(), Repeats(tiny_bfloat16, tiny_inputs, deep=True).digests()) is None


def test_what_differs_between_two_processes_is_named(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    right = Repeats(tiny_float32, tiny_inputs, deep=True).digests()
    other = Repeats(hooked(tiny_float32, lambda call, output: output * 1.01), tiny_inputs, deep=True).digests()
    assert repeats.first_difference(right, other) == LAYER
    assert repeats.first_difference(right, right[:-1]) == f"{len(right)} points against {len(right) - 1}"


@pytest.mark.slow
def test_another_process_gives_the_same_bits(
    synthetic_tiny: Path, tiny_float32: Loaded, tiny_inputs: Inputs, tmp_path: Path
) -> None:
    context = Context("cpu", str(synthetic_tiny), "float32", 42, 2, tmp_path)
    here = Repeats(tiny_float32, tiny_inputs, deep=True).digests()
    assert repeats.first_difference(here, repeats.in_another_process(Verification(context))) is None


def test_another_process_is_told_what_was_asked_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context("cpu", "synthetic:tiny", "float32", 42, 2, tmp_path)
    commands = []

    def run(command: list[str], *, timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
        commands.append((Context.from_json(command[-1]), timeout))
        return subprocess.CompletedProcess(command, 0, f'{repeats.ANSWER}[["a", "b"]]', "")

    monkeypatch.setattr(subprocess, "run", run)
    assert repeats.in_another_process(Verification(context), 7.0) == [("a", "b")]
    assert commands == [(context, 7.0)]


def test_a_second_process_that_fails_says_why(tmp_path: Path) -> None:
    context = Context("cpu", str(tmp_path / "absent"), "float32", 42, 2, tmp_path)
    with pytest.raises(DeviceError, match="a second process on cpu failed: exit code 20"):
        repeats.in_another_process(Verification(context))


def test_a_device_that_changes_as_it_warms_up_is_caught(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    changing = hooked(tiny_float32, lambda call, output: output if call < 3 else output * 1.01)
    parts = run_parts(changing, tiny_inputs)
    assert repeats.warm(changing.device, parts) == {
        "encoder": False, "ctc_head": True, "projector": True, "splice": True, "language_model": True,
        "end_to_end": False,
    }  # fmt: skip


def test_a_row_that_depends_on_its_place_is_caught(tiny_float32: Loaded, tiny_inputs: Inputs) -> None:
    def last_row(call: int, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:-1], output[-1:] * 1.01]) if len(output) > 1 else output

    found = Repeats(hooked(tiny_float32, last_row), tiny_inputs, deep=True).at_every_place()
    assert found.identical is False
    assert found.first_difference == LAYER
    assert found.logits_rel_l2 is not None
    assert found.logits_rel_l2 > 1e-5
