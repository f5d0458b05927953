"""Levels of speech in dB of full scale, without the constant part (DC) that a sound card adds, and what is silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SPAN = (
    1600  # samples (100 ms at 16 kHz) over which a level is taken: shorter than a pause, longer than a stop consonant
)
STEP = 160  # samples (10 ms) between two of them
# What is heard of nothing: the idle channel of G.711 (the smallest step, +-8 of 32768: -72.2 dB, ITU-T G.711 tables 1
# and 2), 16-bit dither (-93 dB), and zeros with an offset. Speech, a quiet room's too, is above it.
SILENCE_DBFS = -70.0
BELOW_LOUDEST = (
    60.0  # dB under its loudest place where a recording still counts as sound: librosa.effects.trim's top_db
)


def variances(samples: Samples, first: int = 0, last: int | None = None) -> NDArray[np.float64]:
    """Mean square around the mean of the `SPAN` samples about each of first, first + STEP, ... last.

    At the edges, of as many of them as there are.
    """
    import numpy as np

    half = SPAN // 2
    last = len(samples) - 1 if last is None else last
    centred = np.asarray(samples, dtype=np.float64)
    centred = centred - centred.mean()  # so that the running sums lose no digits to a constant
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(centred))])
    candidates = np.arange(first, last + 1, STEP)
    low, high = np.maximum(candidates - half, 0), np.minimum(candidates + half, len(samples))
    count = high - low
    mean = (sums[high] - sums[low]) / count
    around: NDArray[np.float64] = np.maximum((squares[high] - squares[low]) / count - np.square(mean), 0.0)
    return around


def dbfs(mean_square: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Decibels of full scale, 0 dB being a constant at 1.0; -inf for none."""
    import numpy as np

    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(mean_square), dtype=np.float64)


def loudest(samples: Samples) -> float:
    """Level of the loudest 100 ms, in dBFS."""
    return float(dbfs(variances(samples)).max())


def sounding(samples: Samples) -> tuple[int, int]:
    """The first and the last sample, exclusive, of what is not silence; (0, 0) where all is.

    Silence is what lies under SILENCE_DBFS or BELOW_LOUDEST under the loudest place.
    """
    import numpy as np

    levels = dbfs(variances(samples))
    over = np.flatnonzero(levels > max(SILENCE_DBFS, float(levels.max()) - BELOW_LOUDEST))
    if not len(over):
        return 0, 0
    return max(int(over[0]) * STEP - STEP, 0), min(int(over[-1]) * STEP + STEP, len(samples))
