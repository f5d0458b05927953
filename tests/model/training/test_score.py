from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import sacrebleu

from model.training.dataset import Clips
from model.training.recipe import load_recipe
from model.training.score import Answer, ask_clips, ask_joined, summary, table
from model.training.speech import Wave
from model.training.tasks import Task
from tests.model.training.tones import tone_clips

RECIPE = load_recipe()


def _answers(pairs: Sequence[tuple[str, str]], language: str = "en", task: str = "raw") -> list[Answer]:
    return [Answer(task, language, language, reference, hypothesis) for reference, hypothesis in pairs]


class Echo:
    """A reader that answers everything with one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[tuple[int, str]] = []

    def spell(self, wave: Wave) -> str:
        self.asked.append((len(wave), "ctc"))
        return self.text

    def answer(self, wave: Wave, task: Task) -> str:
        self.asked.append((len(wave), f"{task.name} {task.language}"))
        return self.text


@pytest.mark.parametrize(
    ("pairs", "wer", "cer", "exact"),
    [
        ([("one two three", "one two three")], 0.0, 0.0, 100.0),
        ([("one two three", "one three")], 33.33, 27.27, 0.0),
        ([("one two", "one two"), ("three", "four five")], 66.67, 54.55, 50.0),  # sums of edits, no mean of rates
        ([("二十一 八", "二十 八")], 50.0, 25.0, 0.0),
        ([("fünf", "")], 100.0, 100.0, 0.0),
    ],
)
def test_rates_are_sums_of_edits(pairs: list[tuple[str, str]], wer: float, cer: float, exact: float) -> None:
    scores = summary(_answers(pairs), bleu=False)
    assert (scores["wer"], scores["cer"], scores["exact"]) == (wer, cer, exact)


def test_interval_holds_the_rate_and_is_zero_wide_without_errors() -> None:
    pairs = [("one two", "one two"), ("three", "four"), ("five six", "five"), ("seven", "seven")] * 10
    scores = summary(_answers(pairs), bleu=False)
    low, high = scores["wer_95"]
    assert low < scores["wer"] < high
    assert summary(_answers([("one", "one")] * 5), bleu=False)["wer_95"] == [0.0, 0.0]


def test_bleu_is_that_of_sacrebleu() -> None:
    pairs = [("one two three four five", "one two three four five"), ("six seven eight nine", "six seven eight")]
    scores = summary(_answers(pairs), bleu=True)
    expected = sacrebleu.corpus_bleu([pair[1] for pair in pairs], [[pair[0] for pair in pairs]])
    assert scores["bleu"] == round(expected.score, 1)
    assert "tok:13a" in scores["bleu_signature"]


def test_table_separates_languages_and_directions() -> None:
    answers = [
        *_answers([("one", "one")]),
        *_answers([("un", "deux")], "fr"),
        Answer("translation", "fr", "en", "one", "one"),
        Answer("translation", "en", "fr", "un", "un"),
    ]
    scores = table(answers)
    assert {task: set(rows) for task, rows in scores.items()} == {
        "raw": {"all", "en", "fr"},
        "to-english": {"all"},
        "from-english": {"all"},
    }
    assert scores["raw"]["all"]["wer"] == 50.0
    assert scores["raw"]["fr"]["wer"] == 100.0


@pytest.fixture(scope="module")
def clips() -> Clips:
    return tone_clips(RECIPE, "test", 12)


def test_every_clip_is_asked_every_task(clips: Clips) -> None:
    reader: Any = Echo("vier")
    answers = ask_clips(reader, clips, ["ctc", "raw", "translation"])
    assert len(answers) == len(reader.asked) == 36
    english = [answer for answer in answers if answer.task == "translation" and answer.language == "en"]
    assert [answer.target for answer in english] == ["fr", "de"]  # its targets in turn
    others = [answer for answer in answers if answer.task == "translation" and answer.language != "en"]
    assert {answer.target for answer in others} == {"en"}
    assert all(answer.hypothesis == "vier" for answer in answers)


def test_joined_clips_are_long_and_the_same_each_time(clips: Clips) -> None:
    few = dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, long_test_clips=3))
    reader: Any = Echo("")
    first = ask_joined(reader, clips, few)
    assert {samples / 16000 >= 4.9 for samples, _ in reader.asked} == {True}
    assert first == ask_joined(reader, clips, few)
