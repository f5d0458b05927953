"""The rules of model/windows.py, on any stream of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.audio import MIN_SAMPLES, SAMPLE_RATE
from model.windows import join, shortest_limit, split

if TYPE_CHECKING:
    from model.audio import Samples

LIMIT = shortest_limit()  # short windows make long streams cheap

streams = st.builds(
    lambda seed, seconds, pause: _speech(seed, seconds, pause),
    st.integers(0, 2**16),
    st.floats(0.0001, 12.0),
    st.floats(0.0, 1.0),
)


def _speech(seed: int, seconds: float, pause: float) -> Samples:
    """Noise with stretches of digital silence, `pause` of it."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(max(1, int(seconds * SAMPLE_RATE))).astype(np.float32)
    for start in range(0, len(samples), SAMPLE_RATE):
        samples[start : start + int(pause * SAMPLE_RATE * rng.random())] = 0
    return samples


def _divided(samples: Samples, size: int) -> list[Samples]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


@settings(deadline=None, max_examples=60)
@given(streams, st.integers(100, 50_000))
def test_windows_joined_are_the_stream_and_none_is_longer_than_the_limit(samples: Samples, size: int) -> None:
    windows = list(split(_divided(samples, size), LIMIT))
    assert np.array_equal(np.concatenate([window.samples for window in windows]), samples)
    assert [window.start for window in windows] == list(
        np.cumsum([0] + [len(window.samples) for window in windows[:-1]])
    )
    assert all(0 < len(window.samples) <= LIMIT * SAMPLE_RATE for window in windows)


@settings(deadline=None, max_examples=30)
@given(streams, st.integers(100, 50_000), st.integers(100, 50_000))
def test_cuts_do_not_depend_on_how_the_stream_was_divided(samples: Samples, one: int, other: int) -> None:
    first = [window.start for window in split(_divided(samples, one), LIMIT)]
    second = [window.start for window in split(_divided(samples, other), LIMIT)]
    assert first == second


@settings(deadline=None, max_examples=30)
@given(streams)
def test_a_cut_never_makes_a_window_too_short_for_the_front_end(samples: Samples) -> None:
    windows = list(split([samples], LIMIT))
    if len(windows) > 1:
        assert min(len(window.samples) for window in windows) >= MIN_SAMPLES


@given(st.lists(st.text(alphabet="ab ", max_size=5)))
def test_joined_text_holds_every_word_in_order_with_single_edges(texts: list[str]) -> None:
    assert join(texts).split() == " ".join(texts).split()
    assert join(texts) == join(texts).strip()
