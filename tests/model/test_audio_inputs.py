"""Forty files that are given to a speech program: each ends in the right samples or in one clear message."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import soxr

from env.errors import InputError
from model import audio

if TYPE_CHECKING:
    from model.audio import Samples

RATE = 16_000
Make = Callable[[Path], Path]


def tone(seconds: float = 1.0, rate: int = RATE, level: float = 0.5) -> Samples:
    """A 440 Hz tone that fades in and out, so that resampling it has no edges to ring on."""
    time = np.arange(int(seconds * rate)) / rate
    return np.asarray(level * np.sin(2 * np.pi * 440 * time) * np.sin(np.pi * time / seconds) ** 2, dtype=np.float32)


def sound(name: str, samples: Any, rate: int = RATE, subtype: str | None = None, format: str | None = None) -> Make:
    def make(folder: Path) -> Path:
        soundfile.write(folder / name, samples, rate, subtype=subtype, format=format)
        return folder / name

    return make


def content(name: str, data: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def cut(source: Make, keep: float) -> Make:
    """The file that `source` makes, cut to `keep` of its bytes."""

    def make(folder: Path) -> Path:
        path = source(folder)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        return path

    return make


def renamed(source: Make, name: str) -> Make:
    return lambda folder: source(folder).rename(folder / name)


def raw_integers(subtype: str, scale: float) -> Make:
    return sound("integers.wav", tone() * scale, subtype=subtype)


def with_nan(value: float) -> Make:
    samples = tone()
    samples[8000] = value
    return sound("nan.wav", samples, subtype="FLOAT")


def streamed(folder: Path) -> Path:
    """A WAV as `ffmpeg -f wav -` writes it to a pipe: its lengths are not known when its header is written."""
    path = sound("pipe.wav", tone())(folder)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    return path


stereo = np.stack([tone(), tone()], axis=1)
opposite = np.stack([tone(), -tone()], axis=1)
wide = tone(level=20_000.0)

# name of the case, how the file is made, the greatest error allowed to the tone, what the notes must say
READABLE: list[tuple[str, Make, float, str]] = [
    ("16-bit", sound("a.wav", tone(), subtype="PCM_16"), 1e-4, ""),
    ("8-bit", sound("a.wav", tone(), subtype="PCM_U8"), 1e-2, ""),
    ("24-bit", sound("a.wav", tone(), subtype="PCM_24"), 1e-6, ""),
    ("32-bit", sound("a.wav", tone(), subtype="PCM_32"), 1e-6, ""),
    ("float32", sound("a.wav", tone(), subtype="FLOAT"), 0, ""),
    ("float64", sound("a.wav", tone(), subtype="DOUBLE"), 1e-7, ""),
    ("mu-law", sound("a.wav", tone(), subtype="ULAW"), 2e-2, ""),
    ("16-bit integers stored as floats", raw_integers("FLOAT", 2**15), 1e-6, "16-bit integers stored as floats"),
    ("32-bit integers stored as floats", raw_integers("DOUBLE", 2**31), 1e-6, "32-bit integers stored as floats"),
    ("flac", sound("a.flac", tone()), 1e-4, ""),
    ("aiff", sound("a.aiff", tone()), 1e-4, ""),
    ("ogg vorbis", sound("a.ogg", tone()), 5e-2, ""),
    ("mp3", sound("a.mp3", tone()), 5e-2, ""),
    ("mp3 named wav", renamed(sound("a.mp3", tone()), "a.wav"), 5e-2, "named .wav but holds MP3"),
    ("flac named raw", renamed(sound("a.flac", tone()), "a.raw"), 1e-4, ""),
    ("8 kHz", sound("a.wav", tone(rate=8000), 8000), 5e-3, "telephone band"),
    ("22.05 kHz", sound("a.wav", tone(rate=22_050), 22_050), 5e-3, ""),
    ("44.1 kHz", sound("a.wav", tone(rate=44_100), 44_100), 5e-3, ""),
    ("96 kHz", sound("a.wav", tone(rate=96_000), 96_000), 5e-3, ""),
    ("stereo", sound("a.wav", stereo), 1e-4, "2 channels mixed down"),
    ("six channels", sound("a.wav", np.repeat(tone()[:, None], 6, axis=1)), 1e-4, "6 channels"),
    ("streamed to a pipe", streamed, 1e-4, ""),
    ("a name with spaces and letters", sound("größe und ö.wav", tone()), 1e-4, ""),
]

# name of the case, how the file is made, what the message must say
REFUSED: list[tuple[str, Make, str]] = [
    ("no such file", lambda folder: folder / "absent.wav", "no such file"),
    ("a directory", lambda folder: folder, "is a directory"),
    ("a device", lambda _: Path(os.devnull), "is not a regular file"),
    ("zero bytes", content("a.wav", b""), "is empty (0 bytes)"),
    ("header only", sound("a.wav", tone()[:0]), "is too short (0 samples at 16 kHz)"),
    ("256 samples", sound("a.wav", tone(256 / RATE)), "is too short (256 samples at 16 kHz)"),
    ("text", content("a.wav", b"hello there, no audio here\n"), "it holds text, beginning 'hello there"),
    ("an error page", content("a.wav", b"<!DOCTYPE html><html>404</html>"), "an HTML page"),
    ("an LFS pointer", content("a.flac", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull --include"),
    ("m4a", content("a.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0"), "ffmpeg -i"),
    ("headerless samples", content("a.raw", tone().tobytes()), "headerless PCM needs a WAV header"),
    ("a NUL in the name", lambda folder: folder / "a\0b.wav", "cannot be opened"),
    ("wav cut in its header", cut(sound("a.wav", tone()), 0.001), "cut off inside its header"),
    ("wav cut in half", cut(sound("a.wav", tone()), 0.5), "its header promises 32000 bytes of samples"),
    ("flac cut in half", cut(sound("a.flac", tone(5.0)), 0.5), "is damaged or cut off"),
    ("ogg cut in half", cut(sound("a.ogg", tone(20.0)), 0.5), "its last Ogg page does not end the stream"),
    ("mp3 cut in half", cut(sound("a.mp3", tone(5.0)), 0.5), "s of 5.00 s could be decoded"),
    ("channels that cancel", sound("a.wav", opposite), "its channels cancel each other out"),
    ("NaN", with_nan(np.nan), "holds NaN or infinite samples, the first at 0.50 s"),
    ("infinity", with_nan(np.inf), "holds NaN or infinite samples, the first at 0.50 s"),
    ("float samples of 1e12", sound("a.wav", tone() * 1e12, subtype="DOUBLE"), "samples reach 5e+11"),
    ("a rate of 100 Hz", sound("a.wav", tone(), 100), "is sampled at 100 Hz"),
]


@pytest.mark.parametrize(("make", "error", "note"), [row[1:] for row in READABLE], ids=[row[0] for row in READABLE])
def test_readable_file_gives_the_tone_at_16_khz(make: Make, error: float, note: str, tmp_path: Path) -> None:
    recording = audio.read(make(tmp_path))
    expected = tone()
    assert recording.samples.dtype == np.float32
    assert recording.samples.shape == expected.shape
    assert float(np.abs(recording.samples - expected).max()) <= error
    assert note in "; ".join(recording.notes)
    assert bool(recording.notes) == bool(note)


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_unusable_file_says_what_is_wrong_with_it(make: Make, message: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        audio.read(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_two_tables_hold_forty_inputs() -> None:
    assert len(READABLE) + len(REFUSED) >= 40


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = sound("a.wav", tone())(tmp_path)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads everything: be nobody for a moment
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match="permission denied"):
            audio.read(path)
    finally:
        os.seteuid(user)


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(InputError, match="is not a regular file"):
        audio.read(tmp_path / "pipe.wav")


def test_resampling_is_recorded_and_equals_soxr_in_one_piece(tmp_path: Path) -> None:
    samples = tone(25.0, 44_100) + 0.05 * np.random.default_rng(0).standard_normal(25 * 44_100).astype(np.float32)
    recording = audio.read(sound("a.wav", samples, 44_100, subtype="FLOAT")(tmp_path))
    assert np.array_equal(recording.samples, soxr.resample(samples, 44_100, RATE, quality="HQ"))
    assert recording.provenance == audio.Provenance(
        str(tmp_path / "a.wav"), "WAV", "FLOAT", 44_100, 1, 25 * 44_100, f"soxr {soxr.__version__} HQ"
    )


def test_no_resampler_is_recorded_where_none_was_used(tmp_path: Path) -> None:
    recording = audio.read(sound("a.flac", tone(2.0))(tmp_path))
    assert (recording.provenance.resampler, recording.seconds, recording.provenance.seconds) == (None, 2.0, 2.0)


def test_clipping_and_a_whisper_are_noted(tmp_path: Path) -> None:
    clipped = audio.read(sound("loud.wav", np.clip(tone() * 10, -1, 1))(tmp_path))
    assert any(note.startswith("clipped: ") for note in clipped.notes)
    quiet = audio.read(sound("quiet.wav", tone(level=5e-4))(tmp_path))
    assert any(note.startswith("very quiet: ") for note in quiet.notes)
    above = audio.read(sound("above.wav", tone(level=1.5), subtype="FLOAT")(tmp_path))
    assert above.notes[0].startswith("samples reach 1.50, over full scale")


def test_what_comes_before_the_damage_is_still_decoded(tmp_path: Path) -> None:
    path = cut(sound("a.flac", tone(60.0) + 0.01, subtype="PCM_16"), 0.5)(tmp_path)
    with audio.AudioFile(path) as file:
        decoded = sum(len(block) for block in file.blocks())
        assert 25 * RATE < decoded < 31 * RATE
        assert file.damage is not None
        assert "is damaged or cut off" in str(file.damage)


def test_the_length_is_read_from_the_header_alone(tmp_path: Path) -> None:
    assert audio.seconds(sound("a.wav", tone(1.5, 8000), 8000)(tmp_path)) == 1.5


@pytest.mark.slow
def test_three_hours_are_decoded_in_the_memory_of_a_block(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = tone(60.0, 8000)
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
        for _ in range(180):
            file.write(minute)
    tracemalloc.start()
    with audio.AudioFile(path) as long:
        decoded = sum(len(block) for block in long.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded == 3 * 3600 * RATE
    assert peak < 20e6
