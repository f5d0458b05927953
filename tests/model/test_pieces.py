"""A part of a recording: which seconds of it, of which channel; samples are those that a slice of the whole has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from env.errors import InputError
from model.audio import AudioFile
from model.pieces import WHOLE, Piece

RATE = 16_000


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of two channels that take turns, as two speakers of a call do."""
    rng = np.random.default_rng(3)
    turns = np.repeat([[1.0, 0.0], [0.0, 1.0]] * 3, RATE, axis=0)
    path = tmp_path_factory.mktemp("pieces") / "call.wav"
    soundfile.write(path, 0.2 * turns * rng.standard_normal((6 * RATE, 2)), RATE)
    return path


def samples(path: Path, piece: Piece) -> tuple[Any, list[str]]:
    with AudioFile(path, piece) as file:
        return np.concatenate(list(file.blocks())), list(file.notes)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "ogg"])
@pytest.mark.parametrize(("start", "seconds"), [(0.0, 1.5), (1.25, 2.0), (4.5, None), (2.0, 99.0)])
def test_a_piece_is_the_slice_of_the_whole(
    start: float, seconds: float | None, suffix: str, stereo: Path, tmp_path: Path
) -> None:
    """NeMo: seek to offset * rate, read duration * rate (segment.py, AudioSegment.from_file). Ogg is not sought in."""
    path = tmp_path / f"call.{suffix}"
    soundfile.write(path, soundfile.read(stereo)[0], RATE)
    whole, _notes = samples(path, WHOLE)
    end = None if seconds is None else round((start + seconds) * RATE)
    piece, _notes = samples(path, Piece(start, seconds))
    assert np.array_equal(piece, whole[round(start * RATE) : end])


def test_a_channel_is_chosen_and_several_are_their_mean(stereo: Path) -> None:
    raw = soundfile.read(stereo, dtype="float32")[0]
    for channels, expected in [
        ((1,), raw[:, 1]),
        ((0,), raw[:, 0]),
        ((0, 1), raw.mean(axis=1)),
        (None, raw.mean(axis=1)),
    ]:
        assert np.allclose(samples(stereo, Piece(channels=channels))[0], expected, atol=1e-7)


def test_speakers_on_channels_of_their_own_are_told_and_microphones_apart_are_not(stereo: Path, tmp_path: Path) -> None:
    assert any("--channels split" in note for note in samples(stereo, WHOLE)[1])
    chosen = samples(stereo, Piece(channels=(1,)))[1]
    assert chosen == ["channel 1 of 2, counted from 0"]
    speech = soundfile.read(stereo)[0].sum(axis=1) * np.repeat([1, 0.1, 0.6, 1, 0.2, 0.8], RATE)
    path = tmp_path / "room.wav"
    soundfile.write(path, np.stack([speech, 0.5 * np.roll(speech, 40)], axis=1), RATE)  # 2.5 ms: 0.86 m apart
    assert samples(path, WHOLE)[1] == ["2 channels mixed down to one by their mean"]


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (Piece(channels=(2,)), "call.wav: has no channel 2\n  why:  it has 2, counted from 0"),
        (Piece(7.5, 1.0), "call.wav: has nothing at 7.5 s\n  why:  it is 6.00 s long"),
    ],
)
def test_a_piece_that_is_not_there_is_an_error_of_its_recording(piece: Piece, message: str, stereo: Path) -> None:
    with pytest.raises(InputError, match=message):
        samples(stereo, piece)


def test_damage_after_a_piece_is_not_the_pieces(stereo: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(stereo.read_bytes()[: 4 * RATE * 4])
    for piece, damaged in [(Piece(1.0, 1.0), False), (Piece(1.0, None), True), (Piece(3.0, 3.0), True)]:
        with AudioFile(path, piece) as file:
            assert sum(map(len, file.blocks())) > 0
            assert (file.damage is not None) is damaged
