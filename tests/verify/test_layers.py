"""Planted faults are caught and the layer is named; clean models of other seeds raise no alarm."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from model import checkpoint, components, gelu, stand_in
from model.components import Inputs, Loaded
from tests.conftest import load
from tests.verify.wrong_models import UP_PROJ, WRONG, Wrong
from verify.checks import layers
from verify.reference import points
from verify.reference.make import make
from verify.reference.values import Expected, describe
from verify.run import judgement


def wrong(loaded: Loaded, fault: Wrong) -> Loaded:
    model = copy.deepcopy(loaded.model)
    fault.plant(model)
    return replace(loaded, model=model)


def departures(loaded: Loaded, inputs: Inputs, values: Expected, mode: str) -> list[points.Reading]:
    return [reading for reading in points.read_points(loaded, inputs, values, mode) if reading.beyond]


@pytest.mark.parametrize("fault", WRONG, ids=lambda fault: fault.name)
def test_one_wrong_layer_shows_as_one_and_is_named(
    fault: Wrong, tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    found = departures(wrong(tiny_float32, fault), tiny_inputs, tiny_expected, "isolated")
    assert {reading.point.owner for reading in found} == {fault.layer}


@pytest.mark.parametrize("fault", WRONG, ids=lambda fault: fault.name)
def test_end_to_end_the_first_departure_is_the_wrong_layer_s(
    fault: Wrong, tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    found = departures(wrong(tiny_float32, fault), tiny_inputs, tiny_expected, "end_to_end")
    assert found[0].point.owner == fault.layer


@pytest.mark.parametrize("fault", [fault for fault in WRONG if fault.in_bfloat16], ids=lambda fault: fault.name)
def test_in_bfloat16_what_rounding_does_not_hide_is_named_too(
    fault: Wrong, tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    found = departures(wrong(tiny_bfloat16, fault), tiny_inputs, tiny_expected, "isolated")
    assert {reading.point.owner for reading in found} == {fault.layer}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", components.DTYPES)
@pytest.mark.parametrize("seed", [1001, 1002])  # none of the seeds that the bounds were measured with
def test_a_clean_model_raises_no_alarm(tmp_path: Path, seed: int, dtype: str) -> None:
    found = checkpoint.inspect(stand_in.folder_of("synthetic:tiny", seed, parent=tmp_path))
    inputs = components.make_inputs(found.architecture, batch=2, seq_len=33, seed=seed)
    values = make(found, inputs, replace(describe(found, "", inputs, dtype), tokens=1))
    data = layers.measure(load(found, dtype), inputs, values)
    assert judgement.of_layers(data) == []


@pytest.mark.slow
def test_a_device_without_the_published_gelu_is_held_to_the_model_with_its_own(
    tiny_float32: Loaded, tiny_checkpoint: checkpoint.Checkpoint, tiny_inputs: Inputs
) -> None:
    """And as closely: a layer that is wrong by a thousandth shows beside it."""
    by_tanh = replace(tiny_float32, model=copy.deepcopy(tiny_float32.model))
    gelu.use_tanh(by_tanh.model)
    about = describe(tiny_checkpoint, "", tiny_inputs, "float32", gelu="tanh")
    values = make(tiny_checkpoint, tiny_inputs, replace(about, tokens=1))
    assert judgement.of_layers(layers.measure(by_tanh, tiny_inputs, values)) == []
    fault = next(fault for fault in WRONG if fault.name == "a layer x1.001")
    assert {r.point.owner for r in departures(wrong(by_tanh, fault), tiny_inputs, values, "isolated")} == {fault.layer}


def test_the_message_names_layer_error_and_band(
    tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    fault = next(fault for fault in WRONG if fault.name == "a layer x1.01")
    data = layers.measure(wrong(tiny_float32, fault), tiny_inputs, tiny_expected)
    isolated, end_to_end = judgement.of_layers(data)
    assert isolated.startswith(f"first departure of layers fed the reference's input: {UP_PROJ}, rel 1.0e-02, expected")
    assert end_to_end.startswith(f"first departure end to end: {UP_PROJ}, rel 1.0e-02, expected below ")
    assert data.isolated.first_departure is not None
    assert data.isolated.first_departure.layer == UP_PROJ


def test_a_layer_that_never_ran_is_named(tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected) -> None:
    model = copy.deepcopy(tiny_float32.model)
    feed_forward = model.encoder.layers[0].ff1
    feed_forward.forward = lambda x: feed_forward.down_proj(feed_forward.up_proj(feed_forward.pre_norm(x)))
    data = layers.measure(replace(tiny_float32, model=model), tiny_inputs, tiny_expected)
    assert "encoder.layers.0.ff1.silu" in data.isolated.missing
    assert any("never computed encoder.layers.0.ff1 > silu" in text for text in judgement.of_layers(data))


def test_a_wrong_shape_is_a_departure(tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected) -> None:
    short = replace(tiny_inputs, features=tiny_inputs.features[:, :31])
    assert departures(tiny_float32, short, tiny_expected, "end_to_end")[0].problem == (
        "model > encoder, is [1, 31, 160], [1, 32, 160] expected"
    )


def test_logits_are_compared_as_a_choice_between_tokens(
    tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    scores = layers.logits(tiny_bfloat16, tiny_inputs, tiny_expected).as_json()
    assert scores["top1"] > 0.9
    assert scores["top5"] > 0.9
    assert 0 < scores["kl"] < 1e-3
