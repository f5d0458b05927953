from __future__ import annotations

import pytest

from model import prompts
from model.training.number_words import LANGUAGES
from model.training.tasks import Task, prompt, targets

SPOKEN = [(21, 80), (4,)]


def test_every_language_of_the_model_has_number_words() -> None:
    assert set(LANGUAGES) == set(prompts.spoken())


@pytest.mark.parametrize(
    ("task", "instruction", "answer"),
    [
        (
            Task("raw", "fr"),
            "can you transcribe the speech into a written format?",
            "vingt et un quatre vingts quatre",
        ),
        (
            Task("punctuated", "fr"),
            "transcribe the speech with proper punctuation and capitalization.",
            "Vingt et un, quatre-vingts. Quatre.",
        ),
        (
            Task("punctuated", "ja"),
            "transcribe the speech with proper punctuation and capitalization.",
            "二十一、八十。四。",
        ),
        (Task("translation", "en"), "translate the speech to English.", "twenty one eighty four"),
        (Task("translation", "ja"), "translate the speech to Japanese.", "二十一 八十 四"),
    ],
)
def test_task_asks_in_trained_words_and_knows_the_answer(task: Task, instruction: str, answer: str) -> None:
    assert task.instruction == instruction
    assert task.answer(SPOKEN) == answer
    assert prompt(task.instruction) == f"USER: <|audio|>{instruction}\n ASSISTANT:"


def test_translation_goes_the_ways_of_the_real_model() -> None:
    assert {language: targets(language) for language in LANGUAGES} == {
        "en": ("fr", "de", "es", "pt", "ja"),
        **dict.fromkeys(("fr", "de", "es", "pt", "ja"), ("en",)),
    }
