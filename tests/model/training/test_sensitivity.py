"""The bundled checkpoint as a fault detector: its logits must move when something is wrong, and stay when nothing is.

In float32 a gate between LEGITIMATE and FAULTY separates rounding from faults; texts alone would hide most of these.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from model.training.export import MANIFEST, read_clips
from model.training.tasks import Task, prompt

DATA = Path(__file__).resolve().parents[3] / "model" / "data"
LEGITIMATE, FAULTY = 2e-4, 6e-4  # relative L2 of the logits along the reference's own answers
CLIPS = 12
Model = Any

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(DATA / "stand-in")


def _load(**options: Any) -> Model:
    return AutoModelForSpeechSeq2Seq.from_pretrained(DATA / "stand-in", dtype=torch.float32, **options).eval()


@pytest.fixture(scope="module")
def reference() -> Model:
    return _load()


@pytest.fixture(scope="module")
def questions(processor: Any) -> list[dict[str, torch.Tensor]]:
    """Processor outputs for a few clips, transcription and translation, with the right answer appended."""
    clips, asked = read_clips(DATA / "clips", MANIFEST), []
    for index, utterance in enumerate(clips.utterances[:CLIPS]):
        tasks = [Task("raw", utterance.language)] + [Task("translation", "en")] * (utterance.language != "en")
        for task in tasks:
            inputs = processor(prompt(task.instruction), torch.from_numpy(clips.wave(index)), return_tensors="pt")
            answer = processor.tokenizer(" " + task.answer([utterance.numbers]), return_tensors="pt")["input_ids"]
            ids = torch.cat([inputs["input_ids"], answer], 1)
            asked.append({**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids), "answer": answer})
    return asked


@torch.no_grad()
def _logits(model: Model, questions: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    """Logits along every answer, one row a token."""
    rows = []
    for question in questions:
        inputs = {name: value for name, value in question.items() if name != "answer"}
        inputs["input_features"] = inputs["input_features"].to(model.dtype)
        rows.append(model(**inputs, logits_to_keep=question["answer"].shape[1] + 1).logits[0].double())
    return torch.cat(rows)


@pytest.fixture(scope="module")
def right(reference: Model, questions: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    return _logits(reference, questions)


def _distance(logits: torch.Tensor, right: torch.Tensor) -> float:
    return float((logits - right).norm() / right.norm())


def _scale(pick: Callable[[Model], torch.nn.Module], factor: float) -> Callable[[Model], None]:
    def scale(model: Model) -> None:
        pick(model).get_parameter("weight").mul_(factor)

    return scale


def _drop_relative_positions(model: Model) -> None:
    for layer in model.encoder.layers:
        layer.attn.rel_pos_emb.weight.zero_()


def _flip_relative_positions(model: Model) -> None:
    model.encoder.attention_dists = 2 * model.config.encoder_config.max_pos_emb - model.encoder.attention_dists


def _swap_glu(model: Model) -> None:
    up = model.encoder.layers[1].conv.up_conv
    for tensor in (up.weight, up.bias):
        tensor.copy_(torch.cat(tensor.chunk(2)[::-1]))


def _skip_feedback(model: Model) -> None:
    model.encoder.out_mid.weight.zero_()
    model.encoder.out_mid.bias.zero_()


def _roll(pick: Callable[[Model], torch.nn.Module], dimension: int) -> Callable[[Model], None]:
    def roll(model: Model) -> None:
        pick(model).register_forward_hook(lambda _module, _inputs, output: torch.roll(output, 1, dimension))

    return roll


def _halve_blocks(model: Model) -> None:
    size = model.config.encoder_config.context_size // 2
    model.encoder.attention_dists = model.encoder.attention_dists[:size, :size]
    for layer in model.encoder.layers:
        layer.attn.context_size = size


def _swap_stacked_frames(model: Model) -> None:
    weight = model.encoder.input_linear.weight
    weight.copy_(torch.cat(weight.chunk(2, dim=1)[::-1], dim=1))


def _batch_statistics(model: Model) -> None:
    for layer in model.encoder.layers:
        layer.conv.batch_norm.train()


def _stretch_rotation(model: Model) -> None:
    model.language_model.model.rotary_emb.inv_freq.mul_(1.01)


def _attention_scale(model: Model) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.scaling *= 1.05


def _no_embedding_multiplier(model: Model) -> None:
    model.language_model.model.embedding_multiplier = 1.0


FAULTS: dict[str, Callable[[Model], None]] = {
    "encoder layer 1 feed-forward x1.1": _scale(lambda model: model.encoder.layers[1].ff1.up_proj, 1.1),
    "Q-Former linear x1.01": _scale(lambda model: model.projector.linear, 1.01),
    "language model layer 1 q_proj x1.1": _scale(
        lambda model: model.language_model.model.layers[1].self_attn.q_proj, 1.1
    ),
    "features x1.02": _scale(lambda model: model.encoder.input_linear, 1.02),
    "relative position bias dropped": _drop_relative_positions,
    "relative positions mirrored": _flip_relative_positions,
    "GLU halves swapped": _swap_glu,
    "mid-layer CTC feedback skipped": _skip_feedback,
    "audio tokens spliced one late": _roll(lambda model: model.projector, 1),
    "depthwise convolution one frame late": _roll(lambda model: model.encoder.layers[1].conv.depth_conv, 2),
    "encoder blocks half as long": _halve_blocks,
    "stacked mel frames swapped": _swap_stacked_frames,
    "BatchNorm of the batch": _batch_statistics,
    "RoPE frequencies x1.01": _stretch_rotation,
    "language model attention scale x1.05": _attention_scale,
    "embedding multiplier left out": _no_embedding_multiplier,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_moves_the_logits(
    fault: str, reference: Model, questions: list[dict[str, torch.Tensor]], right: torch.Tensor
) -> None:
    model = copy.deepcopy(reference)
    with torch.no_grad():
        FAULTS[fault](model)
    distance = _distance(_logits(model, questions), right)
    print(f"{fault}: {distance:.1e}")
    assert distance > FAULTY


def test_padding_of_the_last_block_let_in_moves_the_logits(
    monkeypatch: pytest.MonkeyPatch, reference: Model, questions: list[dict[str, torch.Tensor]], right: torch.Tensor
) -> None:
    """The encoder masks the padding that fills its last block: without that mask, attention sees it."""
    monkeypatch.setattr(torch.Tensor, "masked_fill_", lambda tensor, mask, value: tensor)
    distance = _distance(_logits(reference, questions), right)
    print(f"last block not masked: {distance:.1e}")
    assert distance > FAULTY


@contextmanager
def _convolutions_of_ten_bits(model: Model) -> Iterator[None]:
    """Convolution inputs with 10 mantissa bits, as TF32 and HF32 have."""

    def rounded(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        bits = inputs[0].contiguous().view(torch.int32)
        return (((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32),)

    hooks = [
        module.register_forward_pre_hook(rounded) for module in model.modules() if isinstance(module, torch.nn.Conv1d)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def test_rounding_of_convolution_inputs_stays_below_the_gate(
    reference: Model, questions: list[dict[str, torch.Tensor]], right: torch.Tensor
) -> None:
    with _convolutions_of_ten_bits(reference):
        distance = _distance(_logits(reference, questions), right)
    print(f"ten-bit convolution inputs: {distance:.1e}")
    assert 0 < distance < LEGITIMATE


def test_eager_attention_stays_below_the_gate(questions: list[dict[str, torch.Tensor]], right: torch.Tensor) -> None:
    distance = _distance(_logits(_load(attn_implementation="eager"), questions), right)
    print(f"eager attention: {distance:.1e}")
    assert distance < LEGITIMATE


def test_double_precision_stays_below_the_gate(
    reference: Model, questions: list[dict[str, torch.Tensor]], right: torch.Tensor
) -> None:
    distance = _distance(_logits(copy.deepcopy(reference).double(), questions), right)
    print(f"float64 arithmetic: {distance:.1e}")
    assert 0 < distance < LEGITIMATE


def test_decoding_with_a_cache_gives_the_same_logits(
    reference: Model, questions: list[dict[str, torch.Tensor]], right: torch.Tensor
) -> None:
    question = questions[0]
    count = question["answer"].shape[1]
    ids = question["input_ids"]
    inputs = {name: question[name] for name in ("input_features", "input_features_mask")}
    with torch.no_grad():
        output = reference(input_ids=ids[:, :-count], attention_mask=torch.ones_like(ids[:, :-count]), **inputs)
        rows = [output.logits[:, -1]]
        for position in range(count):
            token = ids[:, ids.shape[1] - count + position, None]
            output = reference(input_ids=token, past_key_values=output.past_key_values)
            rows.append(output.logits[:, -1])
    assert _distance(torch.cat(rows).double(), right[: count + 1]) < LEGITIMATE
