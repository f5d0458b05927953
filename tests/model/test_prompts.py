from __future__ import annotations

from typing import Any

import pytest

from env.errors import UsageError
from model import prompts

# The instructions as the model's authors publish them, written out once more: the outside reference of these tests.
TRAINED: list[tuple[dict[str, Any], str]] = [
    ({}, "can you transcribe the speech into a written format?"),
    ({"language": "ja"}, "can you transcribe the speech into a written format?"),
    ({"punctuate": True}, "transcribe the speech with proper punctuation and capitalization."),
    ({"punctuate": True, "language": "de"}, "transcribe the speech with proper punctuation and capitalization."),
    (
        {"punctuate": True, "language": "de", "tell_language": True},
        "transcribe the German speech with proper punctuation and capitalization.",
    ),
    ({"language": "de", "tell_language": True}, "can you transcribe the speech into a written format?"),
    ({"keywords": ["Ascend", "CANN"]}, "transcribe the speech to text. Keywords: Ascend, CANN"),
    ({"keywords": [" Ascend ", "", "CANN", "Ascend"]}, "transcribe the speech to text. Keywords: Ascend, CANN"),
    ({"task": "translate"}, "translate the speech to English."),
    ({"task": "translate", "language": "fr"}, "translate the speech to English."),
    ({"task": "translate", "language": "en", "target": "de"}, "translate the speech to German."),
    ({"task": "translate", "target": "zh"}, "translate the speech to Mandarin."),
    ({"task": "translate", "target": "it"}, "translate the speech to Italian."),
    (
        {"task": "translate", "target": "pt", "punctuate": True},
        "translate the speech to Portuguese with proper punctuation and capitalization.",
    ),
    ({"task": "translate", "target": "de", "keywords": ["a b"]}, "translate the speech to German. Keywords: a b"),
]

# As docs/source/en/model_doc/granite_speech_plus.md of transformers 5.9.0 and ibm-granite/granite-speech have them.
PLUS: list[tuple[dict[str, Any], str]] = [
    ({}, "can you transcribe the speech into a written format?"),
    ({"language": "de", "tell_language": True}, "can you transcribe the German speech into a written format?"),
    ({"language": "de"}, "can you transcribe the speech into a written format?"),
    ({"keywords": ["kw1", "kw2"]}, "can you transcribe the speech into a written format? Keywords: kw1, kw2"),
    (
        {"task": "speaker_attributed"},
        "Speaker attribution: Transcribe and denote who is speaking by adding [Speaker 1]: and [Speaker 2]: tags "
        "before speaker turns.",
    ),
    (
        {"task": "word_timestamps"},
        "Timestamps: Transcribe the speech. After each word, add a timestamp tag showing the end time in centiseconds, "
        "e.g. hello [T:45] world [T:82]",
    ),
]
SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\n"
    "Today's Date: December 19, 2024.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"task": "summarise"}, "--task summarise: no such task"),
    ({"language": "xx"}, "--language xx: not a language of this model"),
    ({"language": "zh"}, "--language zh: not a language of this model"),
    ({"task": "translate", "target": "ru"}, "--target ru: not a language of this model"),
    ({"target": "de"}, "--target is for translation only"),
    ({"task": "translate", "language": "en"}, "several languages"),
    ({"task": "translate", "language": "de", "target": "de"}, "--language and --target are both de"),
    ({"task": "translate", "language": "fr", "target": "de"}, "not trained to translate French into German"),
    ({"punctuate": True, "keywords": ["a"]}, "--punctuate and --keywords cannot go together"),
    ({"keywords": ["<|end_of_text|>"]}, "cannot be part of an instruction"),
    ({"prompt": "   "}, "--prompt is empty"),
    ({"prompt": "<|audio|> and <|audio|>"}, "holds <|audio|> 2 times"),
    ({"prompt": "what?", "punctuate": True}, "--prompt says the whole instruction"),
    ({"prompt": "what?", "task": "translate"}, "--prompt says the whole instruction"),
    ({"prompt": "what?", "task": "word_timestamps", "plus": True}, "--prompt says the whole instruction"),
    ({"task": "word_timestamps"}, "granite_speech_plus alone was trained for it"),
    ({"task": "word_timestamps", "keywords": ["a"], "plus": True}, "have no trained instruction together"),
    ({"task": "speaker_attributed", "target": "de", "plus": True}, "--target is for translation only"),
    ({"punctuate": True, "plus": True}, "--punctuate: granite_speech_plus was not trained for it"),
    ({"task": "translate", "plus": True}, "--task translate: granite_speech_plus was not trained for it"),
    ({"language": "ja", "plus": True}, "--language ja: not a language of this model"),
]


@pytest.mark.parametrize(("options", "instruction"), PLUS)
def test_plus_is_asked_in_its_own_words_after_its_system_turn(options: dict[str, Any], instruction: str) -> None:
    prompt = prompts.build(**options, plus=True)
    assert prompt.content == f"<|audio|> {instruction}"
    assert prompt.system == SYSTEM
    own = prompts.build(prompt=prompt.content, plus=True)
    assert (own.content, own.system, own.trained) == (prompt.content, SYSTEM, True)


def test_a_prompt_of_the_users_own_is_as_good_with_plus() -> None:
    own = prompts.build(prompt="Summarise the speech.", plus=True)
    assert (own.content, own.system, own.trained) == ("<|audio|> Summarise the speech.", SYSTEM, False)


@pytest.mark.parametrize(("options", "instruction"), TRAINED)
def test_options_give_the_trained_instruction_right_after_the_audio(options: dict[str, Any], instruction: str) -> None:
    prompt = prompts.build(**options)
    assert prompt.instruction == instruction
    assert prompt.content == f"<|audio|>{instruction}"
    assert prompt.trained


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_a_combination_without_a_trained_instruction_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        prompts.build(**options)
    assert message in str(caught.value)


def test_a_prompt_of_the_users_own_is_marked_unless_its_wording_is_trained() -> None:
    assert not prompts.build(prompt="Transcribe the audio.").trained
    assert prompts.build(prompt="translate the speech to German.").trained
    assert prompts.build(prompt="before <|audio|> after").content == "before <|audio|> after"


@pytest.mark.parametrize(
    ("text", "trained"),
    [
        ("transcribe the speech to text. Keywords: Ascend, CANN", True),
        ("<|audio|>transcribe the Japanese speech with proper punctuation and capitalization.", True),
        ("translate the speech to German. Keywords: Ascend", True),
        ("translate the speech to Mandarin with proper punctuation and capitalization.", True),
        ("transcribe the speech to text. Keywords: ", False),
        ("transcribe the Klingon speech with proper punctuation and capitalization.", False),
        ("Can you transcribe the speech into a written format?", False),
    ],
)
def test_the_vendors_own_forms_are_no_guess(text: str, trained: bool) -> None:
    """granite_speech/prompts.py, default_instruction and add_keyword_bias_instruction."""
    assert prompts.build(prompt=text).trained is trained


@pytest.mark.parametrize(
    ("text", "code"),
    [("en-US", "en"), ("English", "en"), ("ja_JP", "ja"), ("deu", "de"), ("FR", "fr"), ("pt-BR", "pt"),
     ("cmn_hans_cn", "zh"), ("zh-CN", "zh"), ("français", "fr"), ("franc\u0327ais", "fr"), (" de ", "de"),
     ("tlh", "tlh")],
)  # fmt: skip
def test_a_language_is_known_as_people_write_it(text: str, code: str) -> None:
    """Common Voice locales (zh-CN), FLEURS configurations (cmn_hans_cn, pt_br), ISO 639-2 of NeMo and Kaldi sets."""
    assert prompts.language_code(text) == code


def test_every_pair_of_the_model_has_a_prompt_and_no_other() -> None:
    pairs = set()
    for language in prompts.spoken():
        for target in prompts.languages():
            try:
                prompts.build("translate", language=language, target=target)
            except UsageError:
                continue
            pairs.add((language, target))
    into_english = {(code, "en") for code in ("fr", "de", "es", "pt", "ja")}
    assert pairs == into_english | {("en", code) for code in ("fr", "de", "es", "pt", "ja", "it", "zh")}


def test_the_output_language_is_the_target_of_a_translation() -> None:
    assert prompts.build("translate", language="ja").output_language == "en"
    assert prompts.build(language="ja").output_language == "ja"
