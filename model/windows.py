"""Long audio as windows that the model was trained for: cut where it is quiet, in order, nothing lost.

Pure functions over a stream of samples: where a cut falls does not depend on how the stream was divided into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from model import levels
from model.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from model.audio import Samples

LIMIT_SECONDS = 30.0  # the model's authors transcribe in chunks of 30 s,
NEW_TOKENS = 200  # with as many new tokens for each, more in proportion for longer ones (granite_speech/chunking.py)
SEARCH_SHARE = 1 / 3  # of a window, at its end, is searched for the quietest place
SHORTEST_TAIL = 0.5  # seconds: a cut leaves at least this much after it
UNSPACED_LANGUAGES = ("ja", "zh")  # written without spaces between words


@dataclass(frozen=True)
class Window:
    """A piece of a recording. `start` counts samples at 16 kHz from its beginning; `samples`: float32 [n]."""

    start: int
    samples: Samples

    @property
    def start_seconds(self) -> float:
        return self.start / SAMPLE_RATE

    @property
    def end_seconds(self) -> float:
        return (self.start + len(self.samples)) / SAMPLE_RATE

    @cached_property
    def level(self) -> float:
        """Level of its loudest 100 ms, in dBFS, without what is constant."""
        return levels.loudest(self.samples)

    @property
    def silent(self) -> bool:
        """Whether the samples hold nothing to decode: a model makes words up for silence."""
        return self.level <= levels.SILENCE_DBFS

    @property
    def sounding_seconds(self) -> tuple[float, float]:
        """Where in the recording its sound begins and ends; the window's own times where it has none."""
        first, last = levels.sounding(self.samples)
        if first == last:
            return self.start_seconds, self.end_seconds
        return (self.start + first) / SAMPLE_RATE, (self.start + last) / SAMPLE_RATE


def quietest(samples: Samples, first: int, last: int) -> int:
    """The index in [first, last] around which 100 ms of `samples` hold least sound; the last such one among equals.

    A constant is no sound: what varies around its mean is compared.
    """
    import numpy as np

    sound = levels.variances(samples, first, last)
    # Rounding of the running sum must not choose among windows that are equally silent.
    quiet = np.flatnonzero(sound <= sound.min() + 1e-12)
    return int(first + levels.STEP * quiet[-1])


def split(blocks: Iterable[Samples], limit_seconds: float = LIMIT_SECONDS) -> Iterator[Window]:
    """Divide a stream of 16 kHz samples into windows of at most `limit_seconds`, each cut where it is quiet.

    The windows joined are the stream. At most one window and one block are held in memory.
    `limit_seconds` must be at least `shortest_limit()`.
    """
    import numpy as np

    limit = int(limit_seconds * SAMPLE_RATE)
    tail = int(SHORTEST_TAIL * SAMPLE_RATE)
    if limit < shortest_limit() * SAMPLE_RATE:
        raise ValueError(f"windows of {limit_seconds} s are too short to search for a quiet place")
    held = np.zeros(0, dtype=np.float32)
    start = 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > limit:
            cut = quietest(held[:limit], int(limit * (1 - SEARCH_SHARE)), limit - tail)
            yield Window(start, held[:cut])
            start += cut
            held = held[cut:]
    if len(held):
        yield Window(start, held)


def shortest_limit() -> float:
    """The least window limit in seconds: its searched third must leave the tail and still hold a cut."""
    return 4 * SHORTEST_TAIL


def join(texts: Sequence[str], language: str | None = None) -> str:
    """The texts of consecutive windows as one: a space between them, none in languages written without spaces."""
    separator = "" if language in UNSPACED_LANGUAGES else " "
    return separator.join(text.strip() for text in texts if text.strip())
