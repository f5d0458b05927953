"""A checkpoint folder that can hear: the stand-in's seeded random weights, with a byte tokenizer and a processor."""

from __future__ import annotations

import json
from pathlib import Path

# The template of the real model: its user turn, nothing of a system turn.
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {{ message['content'] }}\n ASSISTANT:"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{% endif %}{% endfor %}"
)


def byte_tokenizer(size: int, pad: int, end: int, audio: int) -> object:
    """A tokenizer of single bytes; ids above them without a meaning of their own become a letter each."""
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast

    special = {"<|pad|>": pad, "<|end_of_text|>": end, "<|audio|>": audio}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = [number for number in range(size) if number not in special.values()]
    names = letters + [f"Ġw{number}" for number in ids[len(letters) :]]
    vocabulary = {**dict(zip(names, ids, strict=True)), **special}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end_of_text|>",
        bos_token="<|end_of_text|>",
        pad_token="<|pad|>",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        chat_template=TEMPLATE,
    )


def make(parent: Path, seed: int = 42) -> Path:
    """The folder of such a checkpoint, made under `parent`."""
    from transformers import GraniteSpeechFeatureExtractor, GraniteSpeechProcessor

    from model import stand_in

    folder = stand_in.folder_of("synthetic:tiny", seed, parent=parent)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config["text_config"]
    tokenizer = byte_tokenizer(
        text["vocab_size"], text["pad_token_id"], text["eos_token_id"], config["audio_token_index"]
    )
    GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder
