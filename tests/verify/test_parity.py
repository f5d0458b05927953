"""Parity passes a right model in every dtype and seed, and names the component that is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from env.language import Message, translate
from model import stand_in
from model.checkpoint import Checkpoint, inspect
from model.components import Inputs, Loaded, load, make_inputs
from model.device import resolve
from verify.checks import parity
from verify.reference import bounds
from verify.reference.limits import Limits
from verify.reference.make import make
from verify.reference.numerics import as_array
from verify.reference.values import Expected, describe
from verify.run import records
from verify.run.damage import DamageError, convert, decode_message
from verify.run.figures.components import AgreementFigures
from verify.run.judgement import of_parity
from verify.run.worker import answer

ALL = {"encoder", "ctc_head", "projector", "splice", "language_model", "end_to_end"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("seed", [1001, 1002])  # none of the seeds that the bounds were measured with
@pytest.mark.slow
def test_a_right_model_passes_in_every_dtype(seed: int, dtype: str, tmp_path: Path) -> None:
    checkpoint = inspect(stand_in.folder_of("synthetic:tiny", seed, parent=tmp_path))
    inputs = make_inputs(checkpoint.architecture, 1, 47, seed)
    expected = make(checkpoint, inputs, replace(describe(checkpoint, "", inputs, dtype), tokens=1))
    components = parity.measure(load(checkpoint, resolve("cpu"), dtype), inputs, expected).components
    assert {name: entry.problems for name, entry in components.items()} == {name: [] for name in ALL}


def test_the_reference_is_wider_than_what_it_judges(
    tiny_float32: Loaded, tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    narrow = parity.measure(tiny_bfloat16, tiny_inputs, tiny_expected)
    assert narrow.reference.dtype == "float32"
    wide = parity.measure(tiny_float32, tiny_inputs, tiny_expected)
    assert wide.reference.dtype == "float64"
    assert not any(entry.identical for name, entry in wide.components.items() if name != "splice")


def failed(loaded: Loaded, inputs: Inputs, expected: Expected) -> set[str]:
    components = parity.measure(loaded, inputs, expected).components
    return {name for name, entry in components.items() if not entry.passed}


@contextmanager
def scaled(model: Any, name: str, factor: float) -> Iterator[None]:
    parameter = model.get_parameter(name)
    kept = parameter.data.clone()
    parameter.data *= factor
    try:
        yield
    finally:
        parameter.data.copy_(kept)


ENCODER, PROJECTOR, TEXT = "encoder.layers.1", "projector.qformer.encoder.layer.1", "language_model.model.layers.2"
SCALED = {
    f"{ENCODER}.ff1.up_proj.weight": {"encoder", "end_to_end"},
    f"{ENCODER}.attn.to_q.weight": {"encoder", "end_to_end"},
    f"{ENCODER}.attn.rel_pos_emb.weight": {"encoder", "end_to_end"},
    f"{ENCODER}.conv.depth_conv.conv.weight": {"encoder", "end_to_end"},
    f"{ENCODER}.conv.batch_norm.weight": {"encoder", "end_to_end"},
    "encoder.out_mid.weight": {"encoder", "end_to_end"},
    "encoder.out.weight": {"encoder", "ctc_head", "end_to_end"},
    f"{PROJECTOR}.attention.attention.value.weight": {"projector", "end_to_end"},
    f"{PROJECTOR}.crossattention.attention.query.weight": {"projector", "end_to_end"},
    f"{PROJECTOR}.output_query.dense.weight": {"projector", "end_to_end"},
    "projector.linear.weight": {"projector", "end_to_end"},
    "language_model.model.embed_tokens.weight": {"splice", "end_to_end"},
    f"{TEXT}.self_attn.k_proj.weight": {"language_model", "end_to_end"},
    f"{TEXT}.mlp.down_proj.weight": {"language_model", "end_to_end"},
    f"{TEXT}.input_layernorm.weight": {"language_model", "end_to_end"},
    "language_model.lm_head.weight": {"language_model", "end_to_end"},
}


@pytest.mark.parametrize(("name", "components"), SCALED.items(), ids=SCALED)
def test_one_percent_on_one_layer_fails_in_float32(
    tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected, name: str, components: set[str]
) -> None:
    with scaled(tiny_float32.model, name, 1.01):
        assert failed(tiny_float32, tiny_inputs, tiny_expected) == components
    assert failed(tiny_float32, tiny_inputs, tiny_expected) == set()


def test_a_component_that_is_wrong_reaches_the_record_as_a_failure(
    tiny_float32: Loaded, tiny_inputs: Inputs, tiny_expected: Expected
) -> None:
    """With its sentence, whose fields are no plain text."""
    with scaled(tiny_float32.model, "projector.linear.weight", 1.01):
        figures = parity.measure(tiny_float32, tiny_inputs, tiny_expected)
    line = json.loads(answer(records.failed(of_parity(figures), figures), 0.0))
    assert line["status"] == "fail"
    assert "projector" in translate(decode_message(Message, line["reason"]), "en")


# What of a factor of 1.1 can be told from bfloat16's own noise; queries, keys and single convolutions cannot.
SEEN_IN_BFLOAT16 = (
    f"{ENCODER}.ff1.up_proj.weight",
    "encoder.out.weight",
    f"{PROJECTOR}.output_query.dense.weight",
    "projector.linear.weight",
    "language_model.model.embed_tokens.weight",
    f"{TEXT}.mlp.down_proj.weight",
    "language_model.lm_head.weight",
)


@pytest.mark.parametrize("name", SEEN_IN_BFLOAT16)
def test_ten_percent_on_one_layer_fails_in_bfloat16(
    tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected, name: str
) -> None:
    with scaled(tiny_bfloat16.model, name, 1.1):
        assert failed(tiny_bfloat16, tiny_inputs, tiny_expected) & SCALED[name]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_bad_weight_is_caught_in_bfloat16(
    tiny_bfloat16: Loaded, tiny_inputs: Inputs, tiny_expected: Expected, value: float
) -> None:
    parameter = tiny_bfloat16.model.get_parameter(f"{PROJECTOR}.output_query.dense.weight")
    kept = parameter.data[0, 0].clone()
    parameter.data[0, 0] = value
    components = parity.measure(tiny_bfloat16, tiny_inputs, tiny_expected).components
    parameter.data[0, 0] = kept
    assert components["projector"].problems == ["holds NaN or infinity"]
    assert components["language_model"].passed


def tanh_gelu(model: Any, patch: pytest.MonkeyPatch) -> None:
    for layer in model.projector.qformer.encoder.layer:
        patch.setitem(layer.intermediate_query._modules, "intermediate_act_fn", torch.nn.GELU(approximate="tanh"))


def batch_statistics(model: Any, patch: pytest.MonkeyPatch) -> None:
    for layer in model.encoder.layers:
        patch.setattr(layer.conv.batch_norm, "training", True)
        patch.setattr(layer.conv.batch_norm, "momentum", 0.0)


def swapped_gate(model: Any, patch: pytest.MonkeyPatch) -> None:
    glu = model.encoder.layers[1].conv.glu
    patch.setattr(glu, "forward", lambda x: torch.nn.functional.glu(x.flip(1), dim=1).flip(1))


def mirrored_positions(model: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(model.encoder._buffers, "attention_dists", model.encoder.attention_dists.T.contiguous())


def wrong_epsilon(model: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model.language_model.model.norm, "variance_epsilon", 1e-3)


def wrong_rope(model: Any, patch: pytest.MonkeyPatch) -> None:
    rotary = model.language_model.model.rotary_emb
    patch.setitem(rotary._buffers, "inv_freq", rotary.inv_freq * 1.01)


def wrong_attention_scale(model: Any, patch: pytest.MonkeyPatch) -> None:
    attention = model.language_model.model.layers[1].self_attn
    patch.setattr(attention, "scaling", attention.scaling * 1.05)


def no_embedding_multiplier(model: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model.language_model.model, "embedding_multiplier", 1.0)


def late_splice(model: Any, patch: pytest.MonkeyPatch) -> None:
    original = model.get_merged_audio_embeddings
    patch.setattr(
        model,
        "get_merged_audio_embeddings",
        lambda input_ids, audio_features, input_features_mask=None: original(
            input_ids=input_ids, audio_features=audio_features.roll(1, dims=1)
        ),
    )


FAULTS: dict[str, tuple[Callable[[Any, pytest.MonkeyPatch], None], set[str]]] = {
    "GELU by tanh": (tanh_gelu, {"projector", "end_to_end"}),
    "BatchNorm of the batch": (batch_statistics, {"encoder", "end_to_end"}),
    "gate and value swapped": (swapped_gate, {"encoder", "end_to_end"}),
    "relative positions mirrored": (mirrored_positions, {"encoder", "end_to_end"}),
    "epsilon of the last norm": (wrong_epsilon, {"language_model", "end_to_end"}),
    "RoPE frequencies 1 % off": (wrong_rope, {"language_model", "end_to_end"}),
    "attention scale 5 % off": (wrong_attention_scale, {"language_model", "end_to_end"}),
    "embedding multiplier left out": (no_embedding_multiplier, {"language_model", "end_to_end"}),
    "audio spliced one position late": (late_splice, {"splice", "end_to_end"}),
}


@pytest.mark.parametrize(("fault", "components"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_computation_fails_where_it_is(
    tiny_float32: Loaded,
    tiny_inputs: Inputs,
    tiny_expected: Expected,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Any, pytest.MonkeyPatch], None],
    components: set[str],
) -> None:
    wrong = replace(tiny_float32, model=copy.deepcopy(tiny_float32.model))  # a BatchNorm in training counts its batches
    fault(wrong.model, monkeypatch)
    assert failed(wrong, tiny_inputs, tiny_expected) == components


def test_one_wrong_score_among_three_million_is_seen_by_what_is_chosen(
    tiny_bfloat16: Loaded, tiny_expected: Expected
) -> None:
    """A relative error over the whole tensor does not notice one score; what it makes a device choose is noticed."""
    reference = np.random.default_rng(0).normal(size=(1, 32, 100353))
    actual = reference.copy()
    actual[0, 7, 5] = reference[0, 7].max() + 0.1
    limits = parity.limits(tiny_bfloat16, tiny_expected, "language_model")
    entry = parity.judged(actual, reference, limits, classes=True)
    assert entry.rel_l2 is not None
    assert entry.rel_l2 < limits.values["rel_l2"]
    assert entry.top1 == 31 / 32
    assert [problem.split()[0] for problem in entry.problems] == ["top1_regret"]


def test_a_wrong_shape_is_a_failure_with_a_reason() -> None:
    entry = parity.judged(np.zeros((1, 9)), np.zeros((1, 10)), Limits({"rel_l2": 0.1}, "a test"), classes=False)
    assert not entry.passed
    assert entry.problems == ["shape [1, 9], [1, 10] expected"]
    assert entry.rel_l2 is None


def test_where_a_limit_comes_from_is_a_message_that_a_record_keeps_with_its_fields(
    tiny_bfloat16: Loaded, tiny_expected: Expected
) -> None:
    limits = parity.limits(tiny_bfloat16, tiny_expected, "encoder")
    entry = parity.judged(np.ones(4), np.ones(4), limits, classes=False).as_json()
    assert entry["limit_source"]["fields"] == {"dtype": "bfloat16", "component": "encoder"}
    source = convert(entry, AgreementFigures).limit_source
    assert source == limits.source
    assert source.template == entry["limit_source"]["message"]
    entry["limit_source"] = "a sentence of an earlier version"
    assert convert(entry, AgreementFigures).limit_source == "a sentence of an earlier version"
    entry["limit_source"] = ""
    with pytest.raises(DamageError, match="a limit has a source"):
        convert(entry, AgreementFigures)


def test_values_are_compared_on_the_cpu_in_float64() -> None:
    array = as_array(torch.tensor([1.0, 1 / 3], dtype=torch.bfloat16))
    assert array.dtype == np.float64
    assert array.tolist() == [1.0, 0.333984375]


# What a fixed limit for all inputs allowed a component of synthetic:tiny, in unit roundoffs: a bound that follows from
# its inputs' noise is no excuse to allow more.
WIDEST: dict[str, dict[str, float]] = {
    "encoder": {"bfloat16": 10, "float16": 10, "float32": 134},
    "ctc_head": {"bfloat16": 0.87, "float16": 0.88, "float32": 30},
    "projector": {"bfloat16": 4.4, "float16": 4.3, "float32": 57},
    "splice": {"bfloat16": 1, "float16": 1, "float32": 1},
    "language_model": {"bfloat16": 3.4, "float16": 3.4, "float32": 47},
    "end_to_end": {"bfloat16": 8.4, "float16": 8.4, "float32": 67},
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("component", WIDEST)
def test_a_component_s_limit_is_a_few_roundings_of_its_dtype_and_says_where_it_comes_from(
    tiny_checkpoint: Checkpoint, tiny_expected: Expected, component: str, dtype: str
) -> None:
    limits = parity.limits(load(tiny_checkpoint, resolve("cpu"), dtype), tiny_expected, component)
    unit = bounds.UNIT_ROUNDOFF[dtype]
    assert 0.5 * unit < limits.values["rel_l2"] <= WIDEST[component][dtype] * unit
    assert limits.values["cosine"] == pytest.approx((1 - limits.values["rel_l2"] ** 2) ** 0.5)
    assert limits.values.get("top1_regret", 0) <= 8 * limits.values["rel_l2"]
    assert ("top1_regret" in limits.values) == (component in parity.CLASSES)
    assert ("bounds.toml" in limits.source) == (component != "splice")
    assert "rounding" in limits.source or component in limits.source


def test_an_emulated_npu_is_held_to_what_a_cpu_is_and_a_real_one_to_its_floor(
    tiny_float32: Loaded, tiny_expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = parity.limits(tiny_float32, tiny_expected, "encoder").values["rel_l2"]
    monkeypatch.setattr(bounds, "arithmetic", lambda loaded: "npu")
    rel = {name: parity.limits(tiny_float32, tiny_expected, name).values["rel_l2"] for name in ALL}
    assert own < 1e-5
    assert rel == dict.fromkeys(ALL, 0.00012) | {"splice": 2**-24, "end_to_end": 3e-4}
