"""A small random Granite-Speech on the emulated device: audio embeddings, logits and generated ids as on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

FRAMES = 50
AUDIO = 199  # the token that audio embeddings replace


def small_model() -> Any:
    """With the GELU that CPU and device have in common: the device's own is the tanh form (test_operators.py).

    Convolutions are in float32, too: the device's own are in HF32 until that is switched off.
    """
    from transformers import GraniteSpeechConfig, GraniteSpeechForConditionalGeneration

    config = GraniteSpeechConfig(
        encoder_config={
            "num_layers": 2, "hidden_dim": 32, "num_heads": 4, "dim_head": 8, "input_dim": 160, "output_dim": 20,
            "context_size": 20, "max_pos_emb": 32, "conv_kernel_size": 7, "feedforward_mult": 2, "dropout": 0.0,
        },
        projector_config={
            "model_type": "blip_2_qformer", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
            "num_hidden_layers": 1, "encoder_hidden_size": 32, "cross_attention_frequency": 1,
            "use_qformer_text_input": False, "vocab_size": 10, "hidden_act": "gelu_pytorch_tanh",
        },
        text_config={
            "model_type": "granite", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
            "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 200, "max_position_embeddings": 256,
            "eos_token_id": 0, "pad_token_id": 1, "bos_token_id": 0, "initializer_range": 0.2,
        },
        audio_token_index=AUDIO, has_lora_adapter=False, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = GraniteSpeechForConditionalGeneration(config).eval()
    torch.nn.init.normal_(model.projector.query)
    return model


def on(device: str, model: Any) -> dict[str, Any]:
    """What the model gives on `device`: audio embeddings and logits, brought to the CPU, and generated ids."""
    audio_tokens = 3 * -(-FRAMES // 15)
    ids = torch.tensor([[5, 6, 7] + [AUDIO] * audio_tokens + [8, 9, 10, 11]])
    features = torch.randn(1, FRAMES, 160, generator=torch.Generator().manual_seed(1))
    model = model.to(device)
    inputs = {
        "input_ids": ids.to(device),
        "input_features": features.to(device),
        "attention_mask": torch.ones_like(ids, device=device),
    }
    with torch.inference_mode():
        audio = model.get_audio_features(inputs["input_features"])
        logits = model(**inputs, use_cache=False).logits
        generated = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert {str(value.device) for value in (audio, logits, generated)} == {device}
    return {"audio": audio.cpu(), "logits": logits.cpu(), "ids": generated.cpu()[0, ids.shape[1] :].tolist()}


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    torch.npu.conv.allow_hf32 = False  # type: ignore[attr-defined]
    model = small_model()
    return {device: on(device, model) for device in ("cpu", "npu:0")}


def test_audio_embeddings_equal_the_cpu_bit_for_bit(answers: dict[str, dict[str, Any]]) -> None:
    assert torch.equal(answers["npu:0"]["audio"], answers["cpu"]["audio"])


def test_logits_agree_with_the_cpu(answers: dict[str, dict[str, Any]]) -> None:
    # Not bit for bit by design: torch-npu repeats keys and values where the CPU attends in groups.
    torch.testing.assert_close(answers["npu:0"]["logits"], answers["cpu"]["logits"], rtol=1e-5, atol=1e-5)


def test_generated_ids_are_the_same_and_not_all_alike(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["npu:0"]["ids"] == answers["cpu"]["ids"]
    assert len(set(answers["cpu"]["ids"])) > 3
