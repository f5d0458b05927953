"""Speaks number sequences with espeak-ng: one drawn utterance in, one 16 kHz waveform out."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from env.errors import HostError
from env.language import _
from model.audio import SAMPLE_RATE
from model.training.number_words import speech_text

Wave = npt.NDArray[np.float32]

_AUDIBLE = 0.01  # of the peak: below this espeak-ng's lead-in and tail count as silence
_SHORTEST = 0.1  # seconds; less means that a voice is mute


@dataclass(frozen=True)
class Utterance:
    """One thing to say, and how: all that is needed to make its waveform again.

    `speed` in words a minute and `pitch` 0 to 99 as espeak-ng takes them; `resample` scales time and spectrum
    together; `lead` and `tail` are seconds of silence; `level` is the peak; `snr_db` None means no noise.
    """

    language: str
    numbers: tuple[int, ...]
    pauses: bool
    voice: str
    speed: int
    pitch: int
    resample: float
    level: float
    lead: float
    tail: float
    snr_db: float | None
    noise_seed: int


Synthesiser = Callable[[Utterance], Wave]


def espeak(utterance: Utterance) -> Wave:
    """The speech of `utterance` at 16 kHz, trimmed to what is audible, peak 1.

    Raises HostError where espeak-ng is missing, fails, or says nothing.
    """
    text = speech_text(utterance.language, utterance.numbers, pauses=utterance.pauses)
    command = ["espeak-ng", "-v", utterance.voice, "-s", str(utterance.speed), "-p", str(utterance.pitch)]
    try:
        done = subprocess.run([*command, "--stdout", text], capture_output=True, check=True, timeout=60)
    except FileNotFoundError as error:
        raise missing_espeak() from error
    except subprocess.CalledProcessError as error:
        raise HostError(
            _(
                "espeak-ng failed on voice {voice}: {error}",
                voice=utterance.voice,
                error=error.stderr.decode(errors="replace").strip(),
            ),
            why=_("this release of espeak-ng may lack the voice"),
            next="espeak-ng --voices=variant",
        ) from error
    sound, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    speech = soxr.resample(sound, rate * utterance.resample, SAMPLE_RATE).astype(np.float32)
    peak = float(np.abs(speech).max(initial=0.0))
    audible = np.flatnonzero(np.abs(speech) > _AUDIBLE * peak)
    if peak == 0.0 or audible[-1] - audible[0] < _SHORTEST * SAMPLE_RATE:
        raise HostError(
            _("espeak-ng said nothing for voice {voice}: {text}", voice=utterance.voice, text=repr(text)),
            why=_("its language data may be missing"),
            next="espeak-ng --voices",
        )
    margin = SAMPLE_RATE // 100
    trimmed: Wave = speech[max(0, audible[0] - margin) : audible[-1] + 2 * margin] / peak
    return trimmed


def missing_espeak() -> HostError:
    """The error for a machine without espeak-ng."""
    return HostError(
        _("espeak-ng is not installed"),
        why=_("the training clips are made with it; nothing else of the bundle needs it"),
        next="apt-get install -y espeak-ng",
    )


def require_espeak() -> str:
    """The version line of espeak-ng. Raises HostError where it is missing."""
    if shutil.which("espeak-ng") is None:
        raise missing_espeak()
    done = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split("  Data at")[0].strip()


def add_noise(wave: Wave, speech_power: float, snr_db: float, rng: np.random.Generator) -> Wave:
    """`wave` with white noise at `snr_db` below `speech_power` (mean square of the speech alone)."""
    scale = np.float32(np.sqrt(speech_power) * 10 ** (-snr_db / 20))
    noisy: Wave = wave + scale * rng.standard_normal(wave.shape, dtype=np.float32)
    return noisy


def render(utterance: Utterance, synthesise: Synthesiser = espeak) -> npt.NDArray[np.int16]:
    """The clip of `utterance`: speech at its level between silences, with its noise, as 16-bit samples at 16 kHz."""
    speech = synthesise(utterance) * np.float32(utterance.level)
    lead, tail = int(utterance.lead * SAMPLE_RATE), int(utterance.tail * SAMPLE_RATE)
    wave = np.pad(speech, (lead, tail))
    if utterance.snr_db is not None:
        rng = np.random.default_rng(utterance.noise_seed)
        wave = add_noise(wave, float(np.mean(speech**2)), utterance.snr_db, rng)
    return (np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
