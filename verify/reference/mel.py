"""`python -m verify.reference.mel`: the front end once more, by librosa and scipy in place of torchaudio and soxr.

An oracle in a process of its own, since numba comes with librosa and takes longer than all that it is used for here.
For every clip it writes into a folder what the front end has to give, and for every rate a recording of a clip at that
rate with what it has to become at 16 kHz.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from env.arguments import Parser

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# GraniteSpeechFeatureExtractor (transformers 4.57.6) and torchaudio.transforms.MelSpectrogram's defaults (2.9.0): a
# periodic Hann window, frames centred by reflection, power, triangles on HTK's mel scale up to Nyquist, unnormalised.
SAMPLE_RATE = 16_000  # Hz
N_FFT, WINDOW, HOP = 512, 400, 160  # samples
MELS = 80
FLOOR = 1e-10  # of power, before its logarithm
RANGE = 8.0  # decades that are kept below a recording's loudest
STACKED = 2  # mel frames a feature frame

RATES = (8_000, 22_050, 44_100, 48_000)  # Hz, that recordings come in
ZERO_CROSSINGS, BETA = 64, 12.0  # of the resampling filter: half its length, and the shape of its Kaiser window
BAND = 0.8  # of the lower Nyquist frequency is what a recording fills, so that both filters pass all of it
ANSWER = "oracle: "  # begins the line with the versions of what computed


def features(samples: Array) -> Array:
    """Log-mel features [frames // 2, 160] of samples [n] at 16 kHz: what GraniteSpeechFeatureExtractor has to give.

    log10 of mel power, floored at 1e-10 and at 8 decades under the maximum, then / 4 + 1; a last odd frame is dropped
    and two frames are put side by side.
    """
    import librosa
    import numpy as np

    power = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE, n_fft=N_FFT, win_length=WINDOW, hop_length=HOP, window="hann", center=True,
        pad_mode="reflect", power=2.0, n_mels=MELS, fmin=0.0, fmax=SAMPLE_RATE / 2, htk=True, norm=None,
        dtype=np.float64,
    )  # fmt: skip
    decades = np.log10(np.maximum(power.T, FLOOR))
    scaled: Array = np.maximum(decades, decades.max() - RANGE) / 4 + 1
    frames = len(scaled) // STACKED
    return scaled[: frames * STACKED].reshape(frames, STACKED * MELS)


def resampled(samples: Array, rate: int, target: int, band: float = 1.0) -> Array:
    """Samples [n] at `rate` Hz as [ceil(n * target / rate)] at `target` Hz, by a polyphase filter; what lies above
    `band` of the lower Nyquist frequency is taken out.
    """
    from scipy import signal

    up, down = target // gcd(rate, target), rate // gcd(rate, target)
    widest = max(up, down)
    taps = signal.firwin(2 * ZERO_CROSSINGS * widest + 1, band / widest, window=("kaiser", BETA))
    output: Array = signal.resample_poly(samples, up, down, window=taps)
    return output


def recording_at(folder: Path, rate: int) -> Path:
    """The recording at `rate` Hz that the oracle writes, float32 WAV."""
    return folder / f"{rate}.wav"


def truth_of(path: Path, folder: Path) -> Path:
    """Where the oracle keeps what `path` has to become: features of a clip, samples at 16 kHz of a recording."""
    return folder / f"{path.stem}.npy"


def write(clips: Sequence[Path], folder: Path) -> None:
    """Features of every clip, and the first clips, one for each of RATES, as recordings at these rates."""
    import numpy as np
    import soundfile

    for number, clip in enumerate(clips):
        samples, rate = soundfile.read(clip, dtype="float64")
        if rate != SAMPLE_RATE:
            raise ValueError(f"{clip} is sampled at {rate} Hz")
        np.save(truth_of(clip, folder), features(samples))
        if number < len(RATES):
            path = recording_at(folder, RATES[number])
            soundfile.write(path, resampled(samples, SAMPLE_RATE, RATES[number], BAND), RATES[number], subtype="FLOAT")
            stored, _ = soundfile.read(path, dtype="float64")
            np.save(truth_of(path, folder), resampled(stored, RATES[number], SAMPLE_RATE))


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m verify.reference.mel", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("clips", type=Path, nargs="+")
    options = parser.parse_args(argv)
    write(options.clips, options.folder)
    print(ANSWER + json.dumps({name: version(name) for name in ("librosa", "scipy")}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
