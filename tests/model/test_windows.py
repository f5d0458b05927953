"""Where long audio is cut, what of it is silence, and where its sound is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from model import audio, levels, prompts
from model.decoding import Decoded, Decoding
from model.transcribe import transcribe_files
from model.windows import Window, split
from tests.model.test_codecs import Echo

if TYPE_CHECKING:
    from model.audio import Samples

RATE = 16_000
CLIPS = Path(__file__).parents[2] / "model" / "data" / "clips"


def speech(seed: int = 3) -> Samples:
    """A minute of noise that comes and goes, with ten pauses of 0.3 s."""
    rng = np.random.default_rng(seed)
    samples = 0.04 * rng.standard_normal(60 * RATE) * (1.2 + np.sin(np.arange(60 * RATE) / 900))
    for at in range(4, 60, 6):
        samples[at * RATE : at * RATE + 4800] = 0
    return np.asarray(samples, dtype=np.float32)


@pytest.mark.parametrize("offset", [0.01, 0.05, 0.3, -0.5])
def test_a_constant_moves_no_cut(offset: float) -> None:
    clean = [window.start for window in split([speech()], 15.0)]
    shifted = [window.start for window in split([speech() + np.float32(offset)], 15.0)]
    assert len(clean) == 5
    assert shifted == clean
    assert all(np.abs(speech()[start - 100 : start + 100]).max() == 0 for start in clean[1:])


def dither(step: float) -> Samples:
    rng = np.random.default_rng(1)
    return (step * (rng.integers(-1, 2, 2 * RATE))).astype(np.float32)


# The kinds of nothing that recorders write: public reports are whisperX#820, Handy#1229, seamless_communication#254.
NOTHING: dict[str, tuple[Any, str, str]] = {
    "digital zero": (np.zeros(2 * RATE), "WAV", "PCM_16"),
    "dither of one step": (dither(1 / 32768), "WAV", "PCM_16"),
    "mu-law's zero": (np.zeros(2 * RATE), "WAV", "ULAW"),
    "A-law's zero": (dither(1 / 32768), "WAV", "ALAW"),
    "zero and a constant": (np.full(2 * RATE, 0.01), "WAV", "PCM_16"),
    "Opus": (np.zeros(2 * RATE), "OGG", "OPUS"),
    "float": (np.full(2 * RATE, 1e-7), "WAV", "FLOAT"),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_silence_is_one_kind_with_one_answer(kind: str, tmp_path: Path) -> None:
    samples, container, subtype = NOTHING[kind]
    path = tmp_path / f"a.{container.lower()}"
    soundfile.write(path, samples, RATE, format=container, subtype=subtype)
    (transcript,) = transcribe_files(Echo(), [path], prompts.build())
    assert (transcript.error, transcript.text) == (None, "")
    (segment,) = transcript.segments
    assert len(segment.notes) == 1
    assert segment.notes[0].startswith("silent (its loudest at ")
    assert segment.notes[0].endswith(" dBFS): not decoded")
    assert segment.heard_seconds == 0
    assert segment.read_seconds == pytest.approx(2.0, abs=0.01)


def test_a_faint_voice_is_no_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech()[: 3 * RATE] / 32, RATE, subtype="PCM_24")
    (transcript,) = transcribe_files(Echo(), [tmp_path / "a.wav"], prompts.build())
    assert transcript.text == "3 seconds"


class Deaf(Echo):
    def decode(self, windows: Any, prompts: Any) -> list[Decoded]:
        return [Decoded(" ", 0) for _window in windows]


def test_no_text_for_what_is_not_silent_is_noted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech()[: 3 * RATE], RATE)
    (transcript,) = transcribe_files(Deaf(), [tmp_path / "a.wav"], prompts.build())
    assert transcript.segments[0].notes == ("no text, though it is not silent (its loudest at -22 dBFS)",)


@pytest.mark.parametrize("clip", sorted(path.name for path in CLIPS.glob("*-00[0-3].flac")))
def test_a_clip_between_silences_has_the_times_of_its_speech(clip: str) -> None:
    """The bundled clips begin and end with less than half a second of quiet."""
    sound = audio.read(CLIPS / clip).samples
    padded = np.concatenate([np.zeros(20 * RATE, np.float32), sound, np.zeros(4 * RATE, np.float32)])
    start, end = Window(0, padded).sounding_seconds
    seconds = len(sound) / RATE
    assert 20.0 - levels.SPAN / RATE <= start <= 20.5
    assert 20.0 + seconds - 0.5 <= end <= 20.0 + seconds + levels.SPAN / RATE


def test_levels_are_those_of_known_signals() -> None:
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)  # 10 periods in 100 ms
    assert levels.loudest(sine) == pytest.approx(-3.01, abs=0.05)
    assert levels.loudest(np.full(RATE, 0.7, np.float32)) == -np.inf
    idle = np.where(np.arange(RATE) % 2, 8, -8).astype(np.float32) / 32768
    assert levels.loudest(idle) == pytest.approx(-72.2, abs=0.1)  # the smallest step of G.711
    assert levels.sounding(np.zeros(RATE, np.float32)) == (0, 0)


# granite_speech/chunking.py: ceil(200 * max(1, seconds / 30)); what the user names is what is used.
@pytest.mark.parametrize(
    ("named", "seconds", "budget"), [(None, 5, 200), (None, 30, 200), (None, 45, 300), (None, 31, 207), (7, 90, 7)]
)
def test_new_tokens_follow_the_length_of_the_window(named: int | None, seconds: int, budget: int) -> None:
    assert Decoding(named).budget(seconds * RATE) == budget
