from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from env.errors import InputError
from verify.speech import scores
from verify.speech.compare import align, compare, report
from verify.speech.normalisers import load
from verify.speech.transcripts import Line, Transcripts

PLAIN = load("none")


def said(key: str, reference: str, hypothesis: str | None, **fields: Any) -> Line:
    return Line(key, key, fields.pop("language", "en"), "transcribe", None, reference, hypothesis, **fields)


def transcripts(*lines: Line) -> Transcripts:
    return Transcripts({}, lines)


def spoken(n: int, wrong: set[int]) -> Transcripts:
    """Utterances of ten words; in those of `wrong` the last word is another."""
    text = "one two three four five six seven eight nine ten"
    return transcripts(*(said(f"{i:03d}", text, text.replace("ten", "tent") if i in wrong else text) for i in range(n)))


def test_a_few_chance_differences_are_not_significant() -> None:
    found = compare(spoken(300, {5}), spoken(300, {7}), PLAIN, ("NPU", "CPU"))
    assert (found.compared, found.agreed) == (300, 298)
    assert found.sentence().startswith("NPU and CPU transcripts agree on 298 of 300; WER difference +0.00 [")
    assert found.sentence().endswith("; not significant.")


def test_a_steady_difference_is_significant_with_its_sign() -> None:
    found = compare(spoken(300, set()), spoken(300, set(range(0, 300, 10))), PLAIN).differences[0]
    assert found.difference == pytest.approx(1.0)
    assert found.low is not None
    assert 0 < found.low < 1.0 < (found.high or 0)
    assert found.significant
    back = compare(spoken(300, set(range(0, 300, 10))), spoken(300, set()), PLAIN).differences[0]
    assert back.difference == pytest.approx(-1.0)
    assert back.significant


def test_interval_holds_no_difference_as_often_as_it_promises() -> None:
    """Two systems of equal quality: in about 95 % of comparisons the difference is called not significant."""
    rng = np.random.default_rng(3)
    calm = 0
    for _ in range(60):
        a, b = (set(np.flatnonzero(rng.random(120) < 0.3).tolist()) for _ in range(2))
        calm += not compare(spoken(120, a), spoken(120, b), PLAIN).differences[0].significant
    assert calm >= 53


def test_alignment_shows_words_below_each_other_and_marks_what_differs() -> None:
    assert align("the quick fox jumps", "a quick brown fox jumps", "en", ("NPU", "CPU")) == (
        "NPU  the quick ***** fox jumps\nCPU  a   quick brown fox jumps\n     ^^^       ^^^^^"
    )


def test_wide_characters_take_two_columns_and_align_one_by_one() -> None:
    assert align("東京大阪", "東京大坂", "ja") == "A  東 京 大 阪\nB  東 京 大 坂\n            ^^"


def test_an_empty_text_aligns_with_stars() -> None:
    assert align("", "two words", "en") == "A  *** *****\nB  two words\n   ^^^ ^^^^^"


def test_utterances_that_only_one_side_has_are_left_out_by_name() -> None:
    a = transcripts(said("a", "x", "x"), said("b", "x", "x"), said("c", "x", None, error="c: is empty (0 bytes)"))
    b = transcripts(said("a", "x", "x"), said("c", "x", "x"), said("d", "x", "x"))
    found = compare(a, b, PLAIN, ("one", "two"))
    assert found.compared == 1
    assert found.left_out == {"b": "not in two", "c": "failed in one: c: is empty (0 bytes)", "d": "not in one"}


def test_other_references_other_audio_or_nothing_in_common_are_refused() -> None:
    one = transcripts(said("a", "x", "x", audio_sha256="1"))
    with pytest.raises(InputError, match="different references"):
        compare(one, transcripts(said("a", "y", "x")), PLAIN)
    with pytest.raises(InputError, match="different audio"):
        compare(one, transcripts(said("a", "x", "x", audio_sha256="2")), PLAIN)
    with pytest.raises(InputError, match="no utterance in common"):
        compare(one, transcripts(said("b", "x", "x")), PLAIN)


def test_translations_are_compared_by_chrf_for_each_target() -> None:
    lines = [replace(said(str(i), "good morning to you", "good morning to you"), target="en") for i in range(20)]
    worse = [replace(line, hypothesis="bad") for line in lines]
    found = compare(transcripts(*lines), transcripts(*worse), PLAIN).differences
    assert [(row.metric, row.a, row.significant) for row in found] == [("chrF into en", 100.0, True)]


def test_the_interval_of_chrf_is_that_of_corpus_score_over_the_same_resampled_sentences() -> None:
    """The outside oracle is sacrebleu's public corpus_score; the draws are those of scores.resampled."""
    references = [f"number {i} of the {word} good mornings" for i, word in enumerate(("red", "green", "blue", "grey"))]
    sides = [[text.replace("good", word) for text in references] for word in ("fine", "goods")]
    lines = [
        [replace(said(text, text, mine), target="en") for text, mine in zip(references, side, strict=True)]
        for side in sides
    ]
    (found,) = compare(transcripts(*lines[0]), transcripts(*lines[1]), PLAIN).differences
    order = sorted(range(len(references)), key=lambda index: references[index])
    rng = np.random.default_rng(scores.SEED)
    differences = []
    for _ in range(scores.RESAMPLES):
        drawn = [order[index] for index in rng.integers(0, len(order), len(order))]
        a, b = ([side[index] for index in drawn] for side in sides)
        against = [[references[index] for index in drawn]]
        differences.append(CHRF().corpus_score(b, against).score - CHRF().corpus_score(a, against).score)
    assert (found.low, found.high) == pytest.approx(scores.interval(np.array(differences), len(order)), abs=1e-9)


def test_report_lists_the_first_disagreements_and_counts_the_rest() -> None:
    found = compare(spoken(30, set(range(25))), spoken(30, set()), PLAIN)
    text = report(found)
    assert text.count("tent") == 20
    assert "and 5 more" in text
    assert json.loads(json.dumps(found.data, allow_nan=False))["agreed"] == 5


def test_nothing_but_empty_references_leaves_the_rate_undefined() -> None:
    found = compare(transcripts(said("a", "", "x")), transcripts(said("a", "", "")), PLAIN)
    assert found.sentence() == "A and B transcripts agree on 0 of 1; WER difference undefined: no reference words."
