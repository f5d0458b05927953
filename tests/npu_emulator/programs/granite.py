"""A small random Granite-Speech on the CPU and on the emulated NPU: prints as JSON how the two compare."""

from __future__ import annotations

import json

import torch
import torch_npu  # noqa: F401
from transformers import GraniteSpeechConfig, GraniteSpeechForConditionalGeneration

AUDIO = 199  # the token that audio embeddings replace


def small_model() -> GraniteSpeechForConditionalGeneration:
    config = GraniteSpeechConfig(
        encoder_config={
            "num_layers": 2, "hidden_dim": 32, "num_heads": 4, "dim_head": 8, "input_dim": 160, "output_dim": 20,
            "context_size": 20, "max_pos_emb": 32, "conv_kernel_size": 7, "feedforward_mult": 2, "dropout": 0.0,
        },
        projector_config={
            "model_type": "blip_2_qformer", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
            "num_hidden_layers": 1, "encoder_hidden_size": 32, "cross_attention_frequency": 1,
            "use_qformer_text_input": False, "vocab_size": 10,
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


def main() -> None:
    model = small_model()
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 50, 160, generator=generator)
    audio_tokens = 3 * -(-50 // 15)
    ids = torch.tensor([[5, 6, 7] + [AUDIO] * audio_tokens + [8, 9, 10, 11]])
    inputs = {"input_ids": ids, "input_features": features, "attention_mask": torch.ones_like(ids)}
    answers = {}
    for device in ("cpu", "npu:0"):
        model.to(device)
        on_device = {name: value.to(device) for name, value in inputs.items()}
        with torch.inference_mode():
            audio = model.get_audio_features(on_device["input_features"])
            logits = model(**on_device, use_cache=False).logits
            tokens = model.generate(**on_device, max_new_tokens=12, do_sample=False)
        answers[device] = (audio.cpu(), logits.cpu(), tokens.cpu()[0, ids.shape[1] :].tolist())
    (audio, logits, tokens), (npu_audio, npu_logits, npu_tokens) = answers["cpu"], answers["npu:0"]
    difference = (npu_logits.double() - logits.double()).norm() / logits.double().norm()
    print(json.dumps({
        "audio_identical": torch.equal(audio, npu_audio), "logits_rel_l2": float(difference),
        "tokens": tokens, "npu_tokens": npu_tokens, "distinct_tokens": len(set(tokens)),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
