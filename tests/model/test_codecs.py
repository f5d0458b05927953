"""Every container and encoding that libsndfile writes is read; what cannot be read is one file's error, and no more."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from env.errors import InputError
from env.stack import ROOT
from model import audio, codecs, opening, prompts
from model.codecs import CodecError, begins_as_mpeg, mpeg_frame_length
from model.decoding import Decoded
from model.foreign import as_text, converted, shell
from model.signature import DecodingSignature
from model.transcribe import transcribe_files

RATE = 8000
TIME = np.arange(2 * RATE) / RATE
TONE = 0.3 * np.sin(2 * np.pi * 440 * TIME) * np.sin(np.pi * TIME / 2) ** 2
NOISE = np.random.default_rng(5).integers(0, 256, 40_000, dtype=np.uint8).tobytes()

# Pairs that soundfile 0.14.0 cannot seek in, or can only say that it can: the public reports are libsndfile#753 (GSM)
# and microsoft/batch-processing-kit#29; the others were tried, all that libsndfile 1.2.2 writes.
FORWARD_ONLY = [
    ("WAV", "GSM610"),
    ("W64", "GSM610"),
    ("AIFF", "GSM610"),
    ("WAV", "G721_32"),
    ("AU", "G721_32"),
    ("AU", "G723_24"),
    ("AU", "G723_40"),
    ("WAV", "NMS_ADPCM_16"),
    ("WAV", "NMS_ADPCM_24"),
    ("WAV", "NMS_ADPCM_32"),
    ("AIFF", "DWVW_16"),
    ("AIFF", "DWVW_24"),
    ("XI", "DPCM_8"),
    ("XI", "DPCM_16"),
]
OTHERS = [
    ("WAV", "PCM_16"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("CAF", "ALAC_16"),
    ("NIST", "PCM_16"),
    ("AU", "ULAW"),
    ("VOC", "PCM_16"),
]
M4A = b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(200)


def make(folder: Path, container: str, encoding: str) -> Path:
    path = folder / f"{container}-{encoding}.{container.lower()}"
    soundfile.write(path, TONE, RATE, format=container, subtype=encoding)
    return path


@pytest.mark.parametrize(("container", "encoding"), FORWARD_ONLY)
def test_what_cannot_be_sought_in_is_decoded_forward(container: str, encoding: str, tmp_path: Path) -> None:
    path = make(tmp_path, container, encoding)
    recording = audio.read(path)
    rate = recording.provenance.rate  # XI has one of its own
    assert recording.seconds == pytest.approx(len(TONE) / rate, abs=0.02)
    assert float(np.abs(recording.samples).max()) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("container", "encoding"), [("WAV", "GSM610"), ("AIFF", "DWVW_16"), ("WAV", "PCM_16")])
def test_a_decoder_goes_forward_to_a_frame_in_any_codec(container: str, encoding: str, tmp_path: Path) -> None:
    path = make(tmp_path, container, encoding)
    whole, part = codecs.SndfileDecoder(path), codecs.SndfileDecoder(path)
    expected = whole.read(20_000)[9000:]
    assert part.seek(9000) == 9000
    assert np.array_equal(part.read(20_000), expected)
    assert part.seek(99_000) == len(TONE)
    whole.close()
    part.close()


class Echo:
    """A reader that says how long what it was given is."""

    batch_size = 4
    signature = DecodingSignature(method="echo")

    def decode(self, windows: Sequence[Any], prompts: Sequence[Any]) -> list[Decoded]:
        return [Decoded(f"{len(window) / 16_000:.0f} seconds", 2) for window in windows]


def test_of_thirty_kinds_of_files_the_bad_ones_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    good = [make(tmp_path, *pair) for pair in [*FORWARD_ONLY, *OTHERS]]
    bad = {"a.m4a": M4A, "a.raw": NOISE, "a.txt": b"no audio\n", "cut.wav": good[0].read_bytes()[:40]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    paths = sorted([*map(str, good), *(str(tmp_path / name) for name in bad), str(tmp_path / "absent.wav")])
    transcripts = list(transcribe_files(Echo(), paths, prompts.build("transcribe")))
    assert len(transcripts) == len(paths) >= 29
    failed = {Path(transcript.path).name for transcript in transcripts if transcript.error is not None}
    assert failed == {*bad, "absent.wav"}
    assert all(transcript.text for transcript in transcripts if transcript.error is None)


@pytest.mark.parametrize("stage", ["open", "read"])
@pytest.mark.parametrize("error", [RuntimeError, TypeError, AssertionError, MemoryError, ZeroDivisionError, OSError])
def test_whatever_a_codec_library_raises_is_that_files_error(
    stage: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise error("psf_fseek() failed")

    path = make(tmp_path, "WAV", "PCM_16")
    monkeypatch.setattr(soundfile.SoundFile, "__init__" if stage == "open" else "read", fail)
    if stage == "open":
        monkeypatch.setattr(soundfile.SoundFile, "__del__", lambda self: None)
    with pytest.raises(InputError, match=r"WAV-PCM_16\.wav: (cannot be read as audio|is damaged or cut off)"):
        audio.read(path)


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [("call.alaw", "ALAW", 0.02), ("call.al", "ALAW", 0.02), ("call.ul", "ULAW", 0.02), ("call.gsm", "GSM610", 0.2)],
)
def test_a_headerless_file_is_read_where_its_name_tells_what_it_holds(
    name: str, subtype: str, error: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    soundfile.write(path, TONE, RATE, format="RAW", subtype=subtype)
    recording = audio.read(path)
    assert recording.notes[0] == f"no header: read as {subtype} at 8000 Hz by its name"
    assert recording.seconds == pytest.approx(2.0, abs=0.02)
    assert float(np.abs(recording.samples[:31_000:2] - TONE[:15_500]).max()) < error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("minus one.raw", b"\xff" * 9000, "headerless PCM needs a WAV header"),
        ("as an mp3.pcm", b"\xff\xfb" + NOISE, "headerless PCM needs a WAV header"),
        ("noise.raw", NOISE, "headerless PCM needs a WAV header"),
        ("no a-law.bin", NOISE.replace(b"\0", b"\1"), "headerless PCM needs a WAV header"),
        ("a frame of.aac", b"\xff\xf1\x50\x80" + NOISE, "it is raw AAC (ADTS)"),
        ("tagged.mp3", b"ID3" + NOISE, "it is a damaged MP3 file"),
        ("utf16.txt", "no audio here, but text".encode("utf-16"), "it holds text, beginning 'no audio"),
        ("große.txt", "größer als nötig".encode()[:15], "it holds text, beginning 'größer"),
    ],
)
def test_what_is_no_audio_is_named_without_a_word_of_a_library(
    name: str, content: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        audio.read(path)
    assert message in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_mp3_is_told_without_a_word_of_a_library(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, "MP3", "MPEG_LAYER_III")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + NOISE + data[len(data) // 2 :])
    with pytest.raises(InputError, match="is damaged or cut off"):
        audio.read(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["my call.m4a", "it's.m4a", "-x.m4a", "call.wav", "a:b.m4a", "größe.m4a", "$(id).m4a"])
def test_the_printed_command_takes_the_file_and_writes_another(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "pyav_is_there", lambda: False)
    Path(name).write_bytes(M4A)
    with pytest.raises(InputError) as caught:
        audio.read(name)
    command = str(caught.value.next).removesuffix("; or pip install av")
    assert command != str(caught.value.next)
    program, option, source, *settings, target = shlex.split(command)
    assert [program, option, *settings] == ["ffmpeg", "-i", "-ar", "16000", "-ac", "1"]
    assert Path(source) == Path(name)
    assert Path(target) != Path(name)
    assert not target.startswith("-")
    assert ":" not in source.partition("/")[0]


def test_names_are_quoted_for_a_shell() -> None:
    assert (shell("a b"), shell("-n"), shell("c:d"), shell("/x:y")) == ("'a b'", "./-n", "./c:d", "/x:y")
    assert converted(Path("/there/it's.wav")) == shlex.quote("it's-16k.wav")


def test_text_is_told_from_samples() -> None:
    assert as_text(bytes([0xD5]) * 4000) is None  # A-law silence
    assert as_text(NOISE) is None
    assert as_text("漢字".encode()[:-1]) == "漢"


@pytest.mark.parametrize(
    ("head", "length"),
    [
        ("fffb9064", 417),  # version 1, layer III, 128 kbit/s, 44.1 kHz
        ("fff390c4", 261),  # version 2, layer III, 80 kbit/s, 22.05 kHz
        ("fffd9004", 522),  # version 1, layer II, 160 kbit/s, 44.1 kHz
        ("ffff9004", 312),  # version 1, layer I, 288 kbit/s, 44.1 kHz
        ("ffffffff", None),
        ("fff15080", None),  # ADTS
        ("52494646", None),
    ],
)
def test_the_length_of_an_mpeg_frame_is_by_its_header(head: str, length: int | None) -> None:
    assert mpeg_frame_length(bytes.fromhex(head)) == length


def test_a_written_mp3_begins_as_one(tmp_path: Path) -> None:
    data = make(tmp_path, "MP3", "MPEG_LAYER_III").read_bytes()
    start = data.index(b"\xff\xf3") if data.startswith(b"ID3") else 0
    assert begins_as_mpeg(data[start:], len(data) - start)


PYAV = [
    ("a.m4a", "ipod", "aac", 44_100),
    ("a.mp4", "mp4", "aac", 48_000),
    ("a.webm", "webm", "libopus", 48_000),
    ("a.mkv", "matroska", "aac", 32_000),
    ("a.aac", "adts", "aac", 16_000),
]


@pytest.mark.parametrize(("name", "container", "codec", "rate"), PYAV)
def test_what_libsndfile_does_not_read_is_read_by_pyav(
    name: str, container: str, codec: str, rate: int, tmp_path: Path
) -> None:
    av = pytest.importorskip("av", reason="PyAV is an extra, and not installed")
    time = np.arange(2 * rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 440 * time) * np.sin(np.pi * time / 2) ** 2).astype(np.float32)
    with av.open(str(tmp_path / name), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size or None
        cut = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate, frame_size=size)
        for part in [*cut.resample(frame), *cut.resample(None), None]:
            for packet in stream.encode(part):
                file.mux(packet)
    recording = audio.read(tmp_path / name)
    assert recording.provenance.decoder == f"PyAV {av.__version__}"
    assert recording.seconds == pytest.approx(2.0, abs=0.15)
    assert float(np.abs(recording.samples).max()) == pytest.approx(0.5, abs=0.02)
    assert audio.seconds(tmp_path / name) == pytest.approx(2.0, abs=0.15)


def test_pyav_refuses_like_any_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise CodecError("Invalid data found when processing input")

    monkeypatch.setattr(opening, "pyav_is_there", lambda: True)
    monkeypatch.setattr(opening, "PyavDecoder", refuse)
    (tmp_path / "a.m4a").write_bytes(M4A)
    with pytest.raises(InputError) as caught:
        audio.read(tmp_path / "a.m4a")
    assert "an MP4/M4A container (AAC), and PyAV cannot decode it: Invalid data" in str(caught.value)


def test_a_closed_terminal_is_no_reason_to_fail(tmp_path: Path) -> None:
    path = make(tmp_path, "MP3", "MPEG_LAYER_III")
    code = f"from model import audio; print(audio.read({str(path)!r}).provenance.rate)"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 2>&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == f"{RATE}\n"
