"""Builds the untrained stand-in: its byte-level BPE tokenizer, its configuration, the model with its first weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
    PreTrainedTokenizerFast,
)

from model.prompts import AUDIO_TOKEN
from model.training.number_words import LANGUAGES, sentence, transcript
from model.training.recipe import Recipe
from model.training.tasks import CHAT_TEMPLATE, Task, prompt_parts

PAD, END = "<|pad|>", "<|end_of_text|>"
DOWNSAMPLE_RATE, WINDOW_SIZE = 5, 15  # as in the real model: 3 audio tokens for 15 encoder frames


def _corpus(recipe: Recipe) -> Iterator[str]:
    rng = np.random.default_rng(recipe.seed)
    for language in LANGUAGES:
        for number in range(100):
            for other in rng.integers(100, size=recipe.tokenizer.samples_per_number):
                yield " " + transcript(language, [number, int(other)])
                yield " " + sentence(language, [int(other), number])
    # Often enough that every instruction is a few tokens.
    tasks = [Task("raw", "en"), Task("punctuated", "en"), *(Task("translation", language) for language in LANGUAGES)]
    for task in tasks * 400:
        yield from prompt_parts(task.instruction)


def build_tokenizer(recipe: Recipe) -> Any:
    """A PreTrainedTokenizerFast over number words and prompts, padding on the left as the real one."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    specials = [PAD, END, AUDIO_TOKEN]
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.tokenizer.vocabulary - len(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(recipe), trainer)
    bpe.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token=PAD,
        additional_special_tokens=[AUDIO_TOKEN],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=recipe.text["max_position_embeddings"],
        # Without this the fast tokenizer also returns token_type_ids, which generate() refuses.
        model_input_names=["input_ids", "attention_mask"],
        chat_template=CHAT_TEMPLATE,
    )


def build_processor(recipe: Recipe) -> Any:
    """The GraniteSpeechProcessor: the real feature extractor, and the tokenizer of `recipe`."""
    tokenizer = build_tokenizer(recipe)
    return GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer, chat_template=CHAT_TEMPLATE)


def build_config(recipe: Recipe, tokenizer: Any) -> Any:
    """The GraniteSpeechConfig of `recipe`, with the tokenizer's ids."""
    return GraniteSpeechConfig(
        encoder_config={"model_type": "granite_speech_encoder", **recipe.encoder},
        projector_config={"model_type": "blip_2_qformer", **recipe.projector},
        text_config={
            "model_type": "granite",
            **recipe.text,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.eos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        initializer_range=recipe.initialisation.initializer_range,
        has_lora_adapter=False,
        downsample_rate=DOWNSAMPLE_RATE,
        window_size=WINDOW_SIZE,
        tie_word_embeddings=False,
    )


def build_model(recipe: Recipe, tokenizer: Any) -> Any:
    """The untrained model in float32, its first weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    model = GraniteSpeechForConditionalGeneration(build_config(recipe, tokenizer))
    initialisation = recipe.initialisation
    with torch.no_grad():
        for layer in model.encoder.layers:
            layer.attn.rel_pos_emb.weight.normal_(0.0, initialisation.relative_positions)
            layer.conv.depth_conv.conv.weight.normal_(0.0, initialisation.depthwise_convolution)
        for part in (model.projector, model.language_model):
            for name, weight in part.named_parameters():
                if weight.dim() == 2 and "embed" not in name:
                    torch.nn.init.xavier_uniform_(weight)
        model.projector.query.normal_(0.0, 1.0)
    return model
