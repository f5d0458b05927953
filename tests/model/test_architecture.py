from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import model
from model.architecture import Architecture, Encoder, Projector, Text, parse

DATA = Path(model.__file__).parent / "data"


def config(name: str = "granite-speech-4.1-2b") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def architecture(name: str = "granite-speech-4.1-2b") -> Architecture:
    found, problems = parse(config(name))
    assert found is not None, problems
    return found


def test_the_full_config_has_the_published_counts() -> None:
    # 2,313 M parameters on the model's page; 938 BF16 and 16 I64 tensors in the published safetensors headers.
    tensors = architecture().tensors()
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    assert architecture().parameters() == {
        "encoder": 440_168_796,
        "projector": 35_697_664,
        "language_model": 1_837_275_136,
    }
    assert sum(architecture().parameters().values()) == 2_313_141_596
    assert (len(tensors) - len(counters), len(counters)) == (938, 16)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "tied head": {"text_config": {"tie_word_embeddings": True}},
    "biases in the language model": {"text_config": {"attention_bias": True, "mlp_bias": True}},
    "own head size": {"text_config": {"head_dim": 16}},
    "no grouped queries": {"text_config": {"num_key_value_heads": None}},
    "cross attention in every other layer": {"projector_config": {"cross_attention_frequency": 2}},
    "other windows": {"window_size": 12, "downsample_rate": 4},
    "even kernel": {"encoder_config": {"conv_kernel_size": 8, "conv_expansion_factor": 3}},
}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(base)
    for key, value in change.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("change", [*VARIANTS.values(), None], ids=[*VARIANTS, "full size"])
def test_tensors_are_those_of_the_library_s_own_model(change: dict[str, Any] | None) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSpeechSeq2Seq

    given = config() if change is None else merged(config("tiny"), change)
    found, problems = parse(given)
    assert found is not None, problems
    with torch.device("meta"):
        built = AutoModelForSpeechSeq2Seq.from_config(AutoConfig.for_model(**copy.deepcopy(given)))
    state = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    if found.text.tie_word_embeddings:
        del state["language_model.lm_head.weight"]
    assert found.tensors() == state
    parts = (built.encoder, built.projector, built.language_model)
    assert list(found.parameters().values()) == [sum(p.numel() for p in part.parameters()) for part in parts]


def test_defaults_are_those_of_the_library_s_config_classes() -> None:
    from transformers import Blip2QFormerConfig, GraniteConfig, GraniteSpeechConfig, GraniteSpeechEncoderConfig

    zero_means_derived = {"num_key_value_heads", "head_dim"}
    for part, library in {
        Encoder: GraniteSpeechEncoderConfig,
        Projector: Blip2QFormerConfig,
        Text: GraniteConfig,
    }.items():
        defaults = library()
        for name, value in vars(part()).items():
            if name not in zero_means_derived:
                assert getattr(defaults, name) == value, f"{part.__name__}.{name}"
    bare, problems = parse({"model_type": "granite_speech", "has_lora_adapter": False})
    top = GraniteSpeechConfig()
    assert bare is None  # the defaults of the library's parts do not fit together
    assert problems == [
        "config.json: projector_config.encoder_hidden_size 1408 is not the encoder's output, 1024",
    ]
    assert (top.audio_token_index, top.downsample_rate, top.window_size) == (
        Architecture.audio_token,
        Architecture.downsample_rate,
        Architecture.window_size,
    )


@pytest.mark.parametrize(
    ("frames", "tokens"),
    [(1, 3), (15, 3), (16, 6), (32, 9), (50, 12), (100, 21), (500, 102), (550, 111), (1500, 300), (20450, 4092)],
)
def test_audio_tokens_are_those_of_the_library_s_front_end(frames: int, tokens: int) -> None:
    # GraniteSpeechFeatureExtractor._get_num_audio_features for 1, 2, 10, 11, 30 and 409 seconds, and the window's edges
    assert architecture().audio_tokens(frames) == tokens


def test_output_shapes_are_those_of_the_model() -> None:
    assert architecture().output_shapes(batch=2, frames=100, positions=40) == {
        "encoder": (2, 100, 1024),
        "ctc_head": (2, 100, 348),
        "projector": (2, 21, 2048),
        "splice": (2, 40, 2048),
        "language_model": (2, 40, 100353),
        "end_to_end": (2, 40, 100353),
    }


def test_work_of_one_decoded_token_is_two_operations_a_weight() -> None:
    work = architecture().work(batch=1, frames=32, positions=1)
    layers_and_head = 1_837_275_136 - 100353 * 2048 - (2 * 40 + 1) * 2048  # without embeddings and norms
    assert work["language_model"] == (layers_and_head, 2 * layers_and_head)
    assert work["ctc_head"] == (348 * 1024, 2 * 348 * 1024 * 32)


def test_work_of_the_projector_counts_keys_and_values_once_a_frame_and_the_rest_once_a_query() -> None:
    weights, operations = architecture().work(batch=1, frames=15, positions=1)["projector"]
    keys_and_values = 2 * 2 * 1024 * 1024  # key and value of two layers
    assert weights == 35_651_584
    assert operations == 2 * (15 * keys_and_values + 3 * (weights - keys_and_values))


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "plus": (
        {"model_type": "granite_speech_plus"},
        "config.json: model_type granite_speech_plus needs transformers 5.8.0 or later, 4.57.6 is installed: "
        "nox -s setup verify report -- --stack t5",
    ),
    "another model": ({"model_type": "whisper"}, "config.json: model_type 'whisper', granite_speech expected"),
    "no model type": ({"model_type": None}, "config.json: model_type None, granite_speech expected"),
    "another text model": (
        {"text_config": {"model_type": "llama"}},
        "config.json: text_config.model_type 'llama', granite expected",
    ),
    "adapter": (
        {"has_lora_adapter": True},
        "config.json: has_lora_adapter is true or missing: a Granite-Speech 3.x checkpoint, whose adapter needs peft, "
        "which is not in this stack",
    ),
    "text in the Q-Former": (
        {"projector_config": {"use_qformer_text_input": True}},
        "config.json: projector_config.use_qformer_text_input is true, which no Granite-Speech has",
    ),
    "a count in words": (
        {"text_config": {"num_hidden_layers": 10**9}},
        "config.json: text_config.num_hidden_layers is 1000000000, at most 512 expected",
    ),
    "labels, of which the library makes tables": (
        {"text_config": {"num_labels": 10**8}},
        "config.json: num_labels is 100000000, at most 512 expected",
    ),
    "a number of 400 digits": (
        {"projector_config": {"hidden_size": 10**400}},
        "config.json: projector_config.hidden_size is 10000000000000000000, at most 16777216 expected",
    ),
    "no number": (
        {"encoder_config": {"num_layers": "four"}},
        "config.json: encoder_config.num_layers is 'four', a whole number of at least 1 expected",
    ),
    "no layers": (
        {"text_config": {"num_hidden_layers": 0}},
        "config.json: text_config.num_hidden_layers is 0, a whole number of at least 1 expected",
    ),
    "true for a count": (
        {"window_size": True},
        "config.json: window_size is True, a whole number of at least 1 expected",
    ),
    "a number for a switch": (
        {"text_config": {"mlp_bias": 1}},
        "config.json: text_config.mlp_bias is 1, true or false expected",
    ),
    "windows that do not divide": (
        {"downsample_rate": 4},
        "config.json: window_size is not a multiple of downsample_rate",
    ),
    "joint": (
        {"projector_config": {"encoder_hidden_size": 2048}},
        "config.json: projector_config.encoder_hidden_size 2048 is not the encoder's output, 128",
    ),
    "blocks beyond the positions": (
        {"encoder_config": {"context_size": 64}},
        "config.json: encoder_config.context_size exceeds encoder_config.max_pos_emb",
    ),
    "heads of the projector": (
        {"projector_config": {"num_attention_heads": 3}},
        "config.json: projector_config.hidden_size is not a multiple of num_attention_heads",
    ),
    "grouped queries": (
        {"text_config": {"num_key_value_heads": 4}},
        "config.json: text_config.num_attention_heads is not a multiple of num_key_value_heads",
    ),
}


@pytest.mark.parametrize(("change", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_wrong_with_a_config_is_said(change: dict[str, Any], message: str) -> None:
    found, problems = parse(merged(config("tiny"), change))
    assert found is None
    assert message in problems


def test_a_section_that_is_no_object_is_said() -> None:
    found, problems = parse({**config("tiny"), "text_config": [1]})
    assert found is None
    assert "config.json: text_config is not an object" in problems


def test_special_tokens_are_the_language_model_s() -> None:
    assert architecture().special_tokens == {100256, 100257}


@pytest.mark.parametrize(
    ("value", "special"),
    [([0, 7], {0, 7}), (7, {7}), (None, set()), ([[1], True, "x", 7], {7})],
)
def test_the_end_of_a_text_is_one_token_or_several(value: object, special: set[int]) -> None:
    found, problems = parse(merged(config("tiny"), {"text_config": {"eos_token_id": value, "bos_token_id": None}}))
    assert found is not None, problems
    pad = config("tiny")["text_config"].get("pad_token_id")
    assert found.special_tokens == special | ({pad} if pad is not None else set())
