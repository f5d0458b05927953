"""Times of words: a text laid along the labels of the encoder's CTC head, the likeliest way that spells it.

The language model's text has no times. The head's labels are code points, one a frame of 20 ms, 0 is the blank; so a
forced alignment (Kuerzinger et al. 2020, "CTC-Segmentation", 2; Graves et al. 2006, 4) says where each letter is.
These are the times of an alignment, not of the model: a word that was not spoken is put somewhere, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    LogProbabilities = NDArray[np.float32]  # [frames, labels]

FRAME_SECONDS = 0.02  # two mel frames of 10 ms: GraniteSpeechFeatureExtractor stacks them
BLANK = 0
SPACE = ord(" ")
LEAST_SPELLED = 0.5  # of a text's letters, the head has to have: it has none of Japanese


@dataclass(frozen=True)
class Word:
    """A word, with the seconds at which it begins and ends."""

    start: float
    end: float
    text: str


def best_path(log_probabilities: LogProbabilities, labels: list[int]) -> list[tuple[int, int]] | None:
    """The frames [first, last) of each label on the likeliest path that spells `labels`, blanks between them.

    None where there are fewer frames than labels, and blanks between equal ones, need.
    """
    import numpy as np

    frames = len(log_probabilities)
    repeats = sum(one == other for one, other in pairwise(labels))
    if not labels or frames < len(labels) + repeats:
        return None
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    emitted = log_probabilities[:, states].astype(np.float64)
    may_skip = np.zeros(len(states), dtype=bool)  # over a blank, between labels that differ
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), -np.inf)
    score[:2] = emitted[0, :2]
    steps = np.zeros((frames, len(states)), dtype=np.int8)
    for frame in range(1, frames):
        choices = np.full((3, len(states)), -np.inf)
        choices[0] = score
        choices[1, 1:] = score[:-1]
        choices[2, 2:] = np.where(may_skip[2:], score[:-2], -np.inf)
        steps[frame] = choices.argmax(axis=0)
        score = choices.max(axis=0) + emitted[frame]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    spans = [(frames, 0)] * len(labels)
    for frame in range(frames - 1, -1, -1):
        if state % 2:
            first, last = spans[state // 2]
            spans[state // 2] = min(first, frame), max(last, frame + 1)
        state -= int(steps[frame, state])
    return spans


def _label(mark: str, log_probabilities: LogProbabilities) -> int | None:
    """The head's label for a letter or digit, the likelier of its two cases; None where it has none."""
    labels = {ord(form) for form in (mark, mark.lower()) if len(form) == 1 and mark.isalnum()}
    known = [label for label in labels if BLANK < label < log_probabilities.shape[1]]
    return max(known, key=lambda label: float(log_probabilities[:, label].max()), default=None)


def align(text: str, log_probabilities: LogProbabilities, frame_seconds: float = FRAME_SECONDS) -> tuple[Word, ...]:
    """The words of `text` with their times from the beginning of the frames; none where the head cannot spell it."""
    words = text.split()
    labels: list[int] = []
    owners: list[int] = []
    for index, word in enumerate(words):
        spelled = [label for label in (_label(mark, log_probabilities) for mark in word) if label is not None]
        if spelled and labels and log_probabilities.shape[1] > SPACE:
            labels.append(SPACE)
            owners.append(-1)
        labels += spelled
        owners += [index] * len(spelled)
    letters = sum(mark.isalnum() for mark in text)
    if sum(owner >= 0 for owner in owners) < LEAST_SPELLED * letters:
        return ()
    spans = best_path(log_probabilities, labels)
    if spans is None:
        return ()
    timed: list[Word] = []
    for index, word in enumerate(words):
        own = [span for span, owner in zip(spans, owners, strict=True) if owner == index]
        before = timed[-1].end if timed else 0.0  # of a word without letters
        start, end = (own[0][0] * frame_seconds, own[-1][1] * frame_seconds) if own else (before, before)
        timed.append(Word(round(start, 3), round(end, 3), word))
    return tuple(timed)
