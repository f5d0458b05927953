"""The checkpoint and clips in model/data: what they are marked as, that they load as any other, and that they read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from model import checksums
from model.checkpoint import inspect
from model.training.card import with_scores
from model.training.dataset import Clips, split_of
from model.training.export import CARD, HELD_OUT, MANIFEST, SCORES, read_clips
from model.training.number_words import LANGUAGES, ctc_transcript
from model.training.recipe import load_recipe
from model.training.score import Reader
from model.training.tasks import Task

DATA = Path(__file__).resolve().parents[3] / "model" / "data"
CHECKPOINT, CLIPS = DATA / "stand-in", DATA / "clips"
RECIPE = load_recipe()


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForSpeechSeq2Seq.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def reader(model: Any, processor: Any) -> Reader:
    return Reader(model, processor)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return read_clips(CLIPS)


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHECKPOINT / "scores.json").read_text(encoding="utf-8"))
    return loaded


def test_checkpoint_loads_as_the_real_model_does(model: Any, processor: Any) -> None:
    assert type(model).__name__ == "GraniteSpeechForConditionalGeneration"
    assert type(processor).__name__ == "GraniteSpeechProcessor"
    assert (model.config.downsample_rate, model.config.window_size) == (5, 15)
    assert model.config.encoder_config.output_dim == 348
    assert model.config.dtype == torch.float32


def test_checkpoint_is_stored_in_bfloat16_and_is_small() -> None:
    assert (CHECKPOINT / "model.safetensors").stat().st_size < 12_000_000
    assert json.loads((CHECKPOINT / "config.json").read_text())["dtype"] == "bfloat16"


def test_checkpoint_says_that_it_is_a_stand_in() -> None:
    mark = json.loads((CHECKPOINT / "STAND_IN.json").read_text(encoding="utf-8"))
    assert (mark["kind"], mark["trained"], mark["name"]) == ("stand-in", True, RECIPE.name)
    assert (CHECKPOINT / mark["model_card"]).exists()
    assert mark["steps"] == {stage.name: stage.steps for stage in RECIPE.stages}


def test_checkpoint_lists_every_file_that_is_loaded() -> None:
    listed = checksums.compare(inspect(CHECKPOINT))
    assert set(listed or ()) == {path.name for path in CHECKPOINT.iterdir()} - {checksums.SHA256SUMS, SCORES, CARD}


@pytest.mark.parametrize("language", LANGUAGES)
def test_clip_is_read_word_for_word(reader: Reader, clips: Clips, language: str) -> None:
    """Transcript, translation and the CTC head's spelling of one clip that training never heard."""
    index = READ_RIGHT[language]
    utterance, wave = clips.utterances[index], clips.wave(index)
    assert utterance.language == language
    raw = Task("raw", language)
    assert reader.answer(wave, raw) == raw.answer([utterance.numbers])
    translation = Task("translation", "de" if language == "en" else "en")
    assert reader.answer(wave, translation) == translation.answer([utterance.numbers])
    assert reader.spell(wave) == ctc_transcript(language, utterance.numbers)


READ_RIGHT = {"en": 6, "fr": 1, "de": 14, "es": 9, "pt": 4, "ja": 11}


def test_chat_template_is_that_of_the_real_model(processor: Any) -> None:
    """A system turn is dropped and the generation prompt changes nothing, as the real template does."""
    turns = [
        {"role": "system", "content": "You are an assistant."},
        {"role": "user", "content": "<|audio|>" + Task("raw", "en").instruction},
    ]
    for generation in (True, False):
        text = processor.tokenizer.apply_chat_template(turns, add_generation_prompt=generation, tokenize=False)
        assert text == "USER: <|audio|>can you transcribe the speech into a written format?\n ASSISTANT:"


@pytest.mark.parametrize("task", ["raw", "punctuated", "translation"])
def test_audio_token_is_one_token_and_text_survives(processor: Any, task: str) -> None:
    instruction = Task(task, "en").instruction
    ids = processor.tokenizer("<|audio|>" + instruction)["input_ids"]
    assert ids.count(processor.tokenizer.convert_tokens_to_ids("<|audio|>")) == 1
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == instruction


def test_clips_are_what_training_never_heard(clips: Clips) -> None:
    held_out = {speed for low, high in RECIPE.data.held_out_speeds for speed in range(low, high + 1)}
    assert len(clips) == 300
    for utterance in clips.utterances:
        assert split_of(utterance.numbers, RECIPE.data) == "test"
        assert utterance.voice.partition("+")[2] in RECIPE.voices.test
        assert utterance.speed in held_out


def test_clips_are_a_few_megabytes_and_all_named_in_the_manifests() -> None:
    named = {
        json.loads(line)["audio_filepath"]
        for manifest in (MANIFEST, HELD_OUT)
        for line in (CLIPS / manifest).read_text(encoding="utf-8").splitlines()
    }
    assert named == {path.name for path in CLIPS.glob("*.flac")}
    assert sum(path.stat().st_size for path in CLIPS.iterdir()) < 8_000_000


def test_scores_are_of_these_weights_and_clips(scores: dict[str, Any], clips: Clips) -> None:
    weights = (CHECKPOINT / "model.safetensors").read_bytes()
    assert scores["signature"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert scores["signature"]["audio_sha256"] == hashlib.sha256(clips.samples.tobytes()).hexdigest()


def test_held_out_word_error_rate_is_within_its_targets(scores: dict[str, Any]) -> None:
    raw = scores["tasks"]["raw"]
    assert raw["all"]["n"] >= 300
    assert raw["all"]["wer"] <= 5.0
    assert {language: raw[language]["wer"] for language in LANGUAGES if raw[language]["wer"] > 10.0} == {}


def test_model_card_shows_the_scores_of_this_checkpoint(scores: dict[str, Any]) -> None:
    card = (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    assert with_scores(card, scores) == card
