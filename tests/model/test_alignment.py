"""Words laid along the labels of the CTC head."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model.alignment import FRAME_SECONDS, Word, align, best_path

if TYPE_CHECKING:
    from model.alignment import LogProbabilities


def log_softmax(logits: LogProbabilities) -> LogProbabilities:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def spoken(timed: str, labels: int = 348) -> LogProbabilities:
    """Log probabilities of a head that hears one mark a frame; `_` is the blank."""
    frames = np.zeros((len(timed), labels), dtype=np.float32)
    for row, mark in zip(frames, timed, strict=True):
        row[0 if mark == "_" else ord(mark)] = 12
    return log_softmax(frames)


@pytest.mark.parametrize("seed", range(8))
def test_the_path_is_torchaudios(seed: int) -> None:
    """torchaudio.functional.forced_align is the oracle; it is deprecated, so it is not what is used."""
    torch = pytest.importorskip("torch")
    from torchaudio import functional

    rng = np.random.default_rng(seed)
    log_probabilities = log_softmax(3 * rng.standard_normal((60, 12)).astype(np.float32))
    labels = rng.integers(1, 6, 14 + seed).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens, scores = functional.forced_align(
            torch.from_numpy(log_probabilities)[None], torch.tensor([labels], dtype=torch.int32), blank=0
        )
        spans = functional.merge_tokens(tokens[0], scores[0].exp())
    assert best_path(log_probabilities, labels) == [(span.start, span.end) for span in spans]


def test_too_few_frames_have_no_path() -> None:
    log_probabilities = log_softmax(np.zeros((5, 10), dtype=np.float32))
    assert best_path(log_probabilities, [1, 2, 3, 4, 5]) is not None
    assert best_path(log_probabilities, [1, 2, 3, 4, 5, 6]) is None
    assert best_path(log_probabilities, [1, 1, 2, 3, 4]) is None  # equal ones need a blank between them
    assert best_path(log_probabilities, []) is None


def test_words_are_where_their_letters_are_heard() -> None:
    heard = spoken("____he_l_lo___ ____wor_ld__")
    expected = (Word(0.08, 0.22, "Hello,"), Word(0.38, 0.50, "world!"))
    assert align("Hello, world!", heard) == expected


def test_a_cased_head_is_aligned_by_its_own_case() -> None:
    assert align("NATO", spoken("__NA_TO__")) == (Word(0.04, 0.14, "NATO"),)
    assert align("NATO", spoken("__na_to__")) == (Word(0.04, 0.14, "NATO"),)


def test_a_word_that_cannot_be_spelled_stands_where_the_one_before_ends() -> None:
    assert align("one … 2", spoken("_one_ _2_")) == (
        Word(FRAME_SECONDS, 0.08, "one"),
        Word(0.08, 0.08, "…"),
        Word(0.14, 0.16, "2"),
    )


@pytest.mark.parametrize("text", ["", "...", "東京です", "a longer text than there are frames for"])
def test_what_the_head_cannot_spell_has_no_times(text: str) -> None:
    assert align(text, spoken("_ab_")) == ()
