from __future__ import annotations

import dataclasses
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from env.errors import HostError
from model.audio import SAMPLE_RATE
from model.training import speech
from model.training.dataset import draw
from model.training.recipe import load_recipe
from tests.model.training.tones import tone

CLEAN = dataclasses.replace(draw(load_recipe(), "train", 0), level=0.5, lead=0.1, tail=0.05, snr_db=None)


def test_clip_is_speech_at_its_level_between_silences() -> None:
    clip = speech.render(CLEAN, tone)
    assert clip.dtype == np.int16
    assert len(clip) == len(tone(CLEAN)) + 1600 + 800
    assert not clip[:1600].any()
    assert not clip[-800:].any()
    assert np.abs(clip).max() == pytest.approx(0.5 * 32767, rel=0.01)


@pytest.mark.parametrize("snr_db", [10.0, 20.0, 40.0])
def test_noise_has_the_asked_ratio(snr_db: float) -> None:
    """Power of noise = power of speech / 10^(SNR/10)."""
    clean = speech.render(CLEAN, tone) / 32767
    noisy = speech.render(dataclasses.replace(CLEAN, snr_db=snr_db), tone) / 32767
    power = np.mean((tone(CLEAN) * CLEAN.level) ** 2)
    assert 10 * np.log10(power / np.mean((noisy - clean) ** 2)) == pytest.approx(snr_db, abs=0.3)


def test_missing_espeak_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HostError, match="espeak-ng is not installed") as caught:
        speech.espeak(CLEAN)
    assert caught.value.next == "apt-get install -y espeak-ng"
    with pytest.raises(HostError, match="espeak-ng is not installed"):
        speech.require_espeak()


def test_failing_espeak_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **options: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr=b"Error: The specified voice does not exist.")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(HostError, match="The specified voice does not exist"):
        speech.espeak(CLEAN)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_speaks_trimmed_and_at_peak_one() -> None:
    wave = speech.espeak(dataclasses.replace(CLEAN, language="en", numbers=(8,), voice="en-us", resample=1.0))
    assert 0.15 < len(wave) / SAMPLE_RATE < 0.8
    assert np.abs(wave).max() == pytest.approx(1.0)
    assert np.abs(wave[: SAMPLE_RATE // 50]).max() > speech._AUDIBLE


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_resampling_factor_makes_speech_slower_and_deeper() -> None:
    base = dataclasses.replace(CLEAN, language="de", numbers=(21, 3), voice="de", resample=1.0)
    ratio = len(speech.espeak(dataclasses.replace(base, resample=0.9))) / len(speech.espeak(base))
    assert ratio == pytest.approx(1 / 0.9, rel=0.01)
