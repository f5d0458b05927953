"""Field configurations: the edges that are tried follow from the config, and what breaks one of them is caught."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.architecture import Architecture, Encoder, Projector, Text
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded
from model.reference import Reference
from tests.conftest import load
from verify.checks import configurations
from verify.checks.configurations import Pair
from verify.reference.values import Expected
from verify.run.figures.configurations import Row

Plant = Callable[[Any], None]


@pytest.fixture(scope="module")
def pair(tiny_float32: Loaded, tiny_expected: Expected) -> Pair:
    return Pair(tiny_float32, Reference(tiny_float32.checkpoint, "float64"), 7, tiny_expected)


def planted(pair: Pair, plant: Plant) -> Pair:
    model = copy.deepcopy(pair.loaded.model)
    plant(model)
    return replace(pair, loaded=replace(pair.loaded, model=model))


def rows(pair: Pair, expected: Expected, inputs: Inputs) -> list[Row]:
    return configurations.measure(pair, [], expected, inputs, full=False)


def failing(measured: list[Row]) -> set[str]:
    return {f"{row.group}: {row.name.partition(' (')[0]}" for row in measured if row.passed is False}


def test_the_real_model_is_tried_around_its_own_block_and_window() -> None:
    real = Architecture(Encoder(context_size=200), Projector(), Text())
    assert sorted(configurations.edges(real)) == [5, 14, 15, 16, 199, 200, 201, 399, 401, 3000]
    assert configurations.edges(real)[401] == "2 blocks + 1"


def test_a_length_is_a_message_whose_reason_is_one_too(pair: Pair) -> None:
    row = next(configurations.lengths(pair))
    assert row.name == "5 frames (0.1 s, the shortest)"
    assert row.as_json()["name"]["fields"]["why"] == {"message": "the shortest", "fields": {}}
    assert (row.group, row.against) == ("length", "float64 on CPU")


def test_a_right_model_passes_everywhere_and_padding_is_measured_not_judged(
    pair: Pair, tiny_expected: Expected, tiny_inputs: Inputs, tiny_bfloat16: Loaded
) -> None:
    others = [tiny_bfloat16, load(tiny_bfloat16.checkpoint, "float16")]
    measured = configurations.measure(pair, others, tiny_expected, tiny_inputs, full=False)
    assert failing(measured) == set()
    groups = {row.group for row in measured}
    assert groups == {"length", "batch", "prompt", "cache", "attention", "dtype"}  # HF32 is an NPU's
    padding = next(row for row in measured if row.name == "the padded row")
    assert padding.limit is None
    assert padding.value is not None
    assert padding.value > 0.01
    assert padding.passed is None


def _last_block(model: Any) -> None:
    """The rest of the last block is not masked."""
    right = model.encoder.layers[1].attn.forward

    def forward(hidden_states: torch.Tensor, attention_dists: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = right(hidden_states, attention_dists)
        rest = hidden_states.shape[1] % model.encoder.config.context_size
        return torch.cat([output[:, :-rest], output[:, -rest:] * 1.1], dim=1) if rest else output

    model.encoder.layers[1].attn.forward = forward


def _rows_mixed(model: Any) -> None:
    right = model.projector.forward
    model.projector.forward = lambda hidden_states: right(hidden_states).flip(0)


def _mask_ignored(model: Any) -> None:
    """No position is masked. (Without any mask the library takes the padded positions for a text of their own.)"""
    right = model.language_model.forward

    def forward(*, attention_mask: torch.Tensor | None = None, **rest: Any) -> Any:
        return right(attention_mask=None if attention_mask is None else torch.ones_like(attention_mask), **rest)

    model.language_model.forward = forward


def _positions_wrap(model: Any) -> None:
    rotary = model.language_model.model.rotary_emb
    right = rotary.forward
    rotary.forward = lambda x, position_ids: right(x, position_ids.clamp(max=4090))


def _eager_scaled(model: Any, factor: float = 1.01) -> None:
    attention = model.language_model.model.layers[0].self_attn
    right = attention.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        output, weights = right(*arguments, **options)
        return (output * factor if attention.config._attn_implementation == "eager" else output), weights

    attention.forward = forward


@pytest.mark.parametrize(
    ("plant", "broken"),
    [
        (_last_block, {"length: 21 frames", "length: 39 frames", "length: 5 frames", "batch: 3 rows of equal length"}),
        (_rows_mixed, {"batch: 3 rows of equal length", "batch: rows of unequal length", "batch: the longer row"}),
        (_mask_ignored, {"prompt: 5 positions of padding before it"}),
        (_positions_wrap, {"prompt: positions 4064 to 4095"}),
        (_eager_scaled, {"attention: eager"}),
    ],
)
def test_what_breaks_one_configuration_is_caught_by_its_row(
    pair: Pair, tiny_expected: Expected, tiny_inputs: Inputs, plant: Plant, broken: set[str]
) -> None:
    assert broken <= failing(rows(planted(pair, plant), tiny_expected, tiny_inputs))


def test_a_fault_of_one_configuration_leaves_the_others(
    pair: Pair, tiny_expected: Expected, tiny_inputs: Inputs
) -> None:
    assert failing(rows(planted(pair, _eager_scaled), tiny_expected, tiny_inputs)) == {"attention: eager"}


def test_attention_is_put_back_also_after_an_error(pair: Pair) -> None:
    config = pair.loaded.model.language_model.config
    during = []

    def fail() -> None:
        with configurations.attention(pair.loaded, "eager"):
            during.append(config._attn_implementation)
            raise RuntimeError("the device failed")

    with pytest.raises(RuntimeError, match="the device failed"):
        fail()
    assert during == ["eager"]
    assert config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [
        (0.00033560460468, 2.4e-5, "cache, none: rel_l2 0.00034, at most 2.4e-05 allowed"),
        (None, 0.1, "cache, none: rel_l2 is no number, at most 0.1 allowed"),
        (0.25, None, "cache, none: rel_l2 0.25"),
    ],
)
def test_a_row_is_said_in_two_digits(value: float | None, limit: float | None, said: str) -> None:
    assert Row.of("cache", "none", "against", "rel_l2", value, limit).summary == said


@pytest.mark.parametrize(
    ("value", "limit", "passed"), [(1.0, 1.0, True), (1.1, 1.0, False), (None, 1.0, False), (9.0, None, None)]
)
def test_a_row_without_a_number_fails_and_one_without_a_limit_never_does(
    value: float | None, limit: float | None, passed: bool | None
) -> None:
    assert Row.of("group", "name", "against", "rel_l2", value, limit).passed is passed


def test_a_large_checkpoint_is_held_against_its_own_siblings(
    tiny_bfloat16: Loaded, tiny_expected: Expected, tiny_inputs: Inputs
) -> None:
    pairs = list(configurations.siblings(tiny_bfloat16, tiny_expected, tiny_inputs))
    assert [row.group for row in pairs] == ["batch", "attention", "cache"]
    assert all(row.passed for row in pairs)
    wrong = copy.deepcopy(tiny_bfloat16.model)
    _eager_scaled(wrong, 1.5)
    pairs = list(configurations.siblings(replace(tiny_bfloat16, model=wrong), tiny_expected, tiny_inputs))
    assert [row.passed for row in pairs] == [True, False, True]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_limit_in_a_dtype_without_ideal_devices_follows_from_another_s(
    tiny_checkpoint: Checkpoint, tiny_expected: Expected, dtype: str
) -> None:
    """The bundled checkpoint's reference has the noise of float32 alone."""
    loaded = load(tiny_checkpoint, dtype)
    description = replace(tiny_expected.description, dtypes=("float32",))
    alone = replace(tiny_expected, description=description, noise_of={"float32": tiny_expected.noise_of["float32"]})
    own, derived = (configurations.limits(loaded, expected)["rel_l2"] for expected in (tiny_expected, alone))
    assert derived == pytest.approx(own, rel=0.3)
