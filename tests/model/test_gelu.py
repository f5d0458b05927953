"""The form of GELU is measured, and the reference takes the device's."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from model import gelu
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, project
from model.device import resolve
from model.gelu import Gelu
from model.npu import WITH_GELU_V2
from model.reference import Reference


def test_the_cpu_computes_the_published_one() -> None:
    measured = gelu.of(resolve("cpu"))
    assert measured.form == "erf"
    assert measured.erf_error < 1e-6
    assert measured.tanh_error == pytest.approx(4.7e-4, rel=0.02)  # the distance of the forms


@pytest.mark.parametrize(
    ("erf_error", "tanh_error", "form"),
    [
        (5.1e-7, 4.7e-4, "erf"),  # torch_npu.npu_gelu on an Ascend 910_93, as its users measured it
        (4.7e-4, 1e-6, "tanh"),
        (2e-2, 2e-2, "neither"),  # x sigmoid(1.702 x)
        (math.inf, math.inf, "neither"),
    ],
)
def test_the_form_is_the_near_one(erf_error: float, tanh_error: float, form: str) -> None:
    assert Gelu(erf_error, tanh_error).form == form


def test_a_reference_by_tanh_is_the_model_with_it(
    tiny_float32: Loaded, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    by_tanh = Reference(tiny_checkpoint, "float32", "tanh")
    model = copy.deepcopy(tiny_float32.model)
    encoded = by_tanh.encode(tiny_inputs.features)
    with torch.inference_mode():
        exact = project(model, encoded)
        gelu.use_tanh(model)
        approximate = project(model, encoded)
    away = float((by_tanh.project(encoded) - approximate).abs().max())
    assert 10 * away < float((exact - approximate).abs().max())


@pytest.mark.parametrize(
    ("chip", "has"),
    [
        ("Ascend910B4", True),
        ("Ascend910_9391", True),
        ("Ascend910B", False),
        ("Ascend910A", False),
        ("Ascend910ProB", False),
        ("Ascend310P3", False),
    ],
)
def test_the_switch_is_for_the_chips_that_have_the_operator(chip: str, has: bool) -> None:
    assert bool(WITH_GELU_V2.match(chip)) is has
