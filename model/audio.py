"""Audio files as the model needs them: mono, 16 kHz, float32 in [-1, 1], with a record of what was done to get there.

The processor checks neither rate, nor channels, nor scale, and goes silently wrong; so everything is checked here.
A file is decoded block by block: hours of audio need no more memory than one block.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from env import elsewhere
from env.errors import InputError
from env.language import Message, _
from env.toml import load_toml

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz, the rate of GraniteSpeechFeatureExtractor's mel filters
MIN_SAMPLES = 257  # n_fft 512 is padded by reflection with 256 samples on each side, which needs one more
MIN_RATE = 4_000  # Hz: below it, the voice band itself is missing
TELEPHONE_RATE = 8_000  # Hz
SILENCE = 1 / 32_768  # peak of one 16-bit step (-90 dBFS): nothing was recorded
QUIET = 0.001  # -60 dBFS
FULL_SCALE = 0.9999
CLIPPED_SHARE = 0.001  # of samples at full scale, above which a recording is called clipped
OVER_RANGE = 8.0  # +18 dBFS: no float recording goes there, so its samples are integers stored as floats
BLOCK_SECONDS = 1  # a decoder that gives up loses at most the block it was in
RESAMPLER_QUALITY = "HQ"  # librosa's default, soxr_hq
STREAMED_LENGTH = 0x7FFF_0000  # writers to a pipe put a length about here or above, since they do not know it

_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_FORMATS_OF_SUFFIX = {
    ".wav": ("WAV", "WAVEX", "RF64", "W64"),
    ".mp3": ("MP3", "MPEG"),
    ".flac": ("FLAC",),
    ".ogg": ("OGG",),
}
_SHORT_DATA = re.compile(r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_OGG_CUT = "lacks an end-of-stream bit"


@dataclass(frozen=True)
class Provenance:
    """What a recording was before it became mono 16 kHz float32. `frames` is what the header promises."""

    path: str
    format: str
    subtype: str
    rate: int
    channels: int
    frames: int
    resampler: str | None

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


@dataclass(frozen=True)
class Recording:
    """A whole recording in memory. `samples`: float32, shape [n], 16 kHz."""

    samples: Samples
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass
class _Levels:
    """Running figures over the frames of a file, before and after the channels are mixed."""

    frames: int = 0
    clipped: int = 0
    peak: float = 0.0
    mixed_peak: float = 0.0

    def add(self, frames: NDArray[np.float32], mixed: Samples) -> None:
        import numpy as np

        size = np.abs(frames)
        self.frames += len(frames)
        self.clipped += int(np.count_nonzero(size.max(axis=1) >= FULL_SCALE))
        self.peak = max(self.peak, float(size.max()))
        self.mixed_peak = max(self.mixed_peak, float(np.abs(mixed).max()))


@cache
def _foreign_files() -> tuple[dict[str, Any], ...]:
    return tuple(load_toml(Path(__file__).parent / "foreign_files.toml")["file"])


def _not_audio(path: Path, detail: str) -> InputError:
    """The error for a file that libsndfile refuses, by what the file begins with."""
    with elsewhere.opened(path) as file:
        head = file.read(512)
    for row in _foreign_files():
        magic = bytes.fromhex(row["magic"])
        if head[row["offset"] :].startswith(magic):
            why = _("it is {kind}", kind=Message(row["name"]))
            next_step = row["next"].format(path=path, stem=path.stem)
            return InputError(_("{path}: cannot be read as audio", path=path), why=why, next=next_step)
    if b"\0" not in head:
        why = _("it holds text, beginning {text}", text=repr(head[:40].decode("utf-8", "replace")))
    else:
        why = _("no format that libsndfile knows ({detail}); headerless PCM needs a WAV header", detail=detail)
    return InputError(_("{path}: cannot be read as audio", path=path), why=why, next=f"file {path}")


def _open_regular(path: Path) -> int:
    """A descriptor of the regular, non-empty file `path`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: to open a pipe would wait for its writer
            what = (
                _("{path}: is a directory", path=path)
                if path.is_dir()
                else _("{path}: is not a regular file", path=path)
            )
            raise InputError(what, why=_("an audio file is needed"), next=f"ls -l {path}")
        descriptor = elsewhere.descriptor(path)
    except FileNotFoundError as error:
        raise InputError(_("{path}: no such file", path=path), next=f"ls -l {path.parent}") from error
    except PermissionError as error:
        raise InputError(_("{path}: permission denied", path=path), next=f"ls -l {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(
            _("{path}: cannot be opened: {error}", path=path, error=str(error)), next=f"ls -l {path}"
        ) from error
    if os.fstat(descriptor).st_size == 0:
        os.close(descriptor)
        raise InputError(
            _("{path}: is empty (0 bytes)", path=path),
            why=_("a copy or recording did not finish"),
            next=f"ls -l {path}",
        )
    return descriptor


class AudioFile:
    """An open recording. `blocks` decodes it once; after that `damage` and `notes` say what came up on the way.

    Raises:
        InputError: the file cannot be opened or is no audio.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import soundfile

        self.path = Path(path)
        descriptor = _open_regular(self.path)
        try:
            # By descriptor, not by name: soundfile would guess from a name that ends in .raw and refuse it.
            self._file = soundfile.SoundFile(descriptor, closefd=True)
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            raise _not_audio(self.path, str(error).rpartition(": ")[2]) from error
        self.notes: list[str] = []
        self.damage: InputError | None = None
        self._scale = 1.0
        try:
            self.provenance = self._describe()
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _describe(self) -> Provenance:
        import soxr

        file = self._file
        resampler = None if file.samplerate == SAMPLE_RATE else f"soxr {soxr.__version__} {RESAMPLER_QUALITY}"
        return Provenance(
            str(self.path), file.format, file.subtype, file.samplerate, file.channels, file.frames, resampler
        )

    def _check_header(self) -> None:
        rate, channels = self.provenance.rate, self.provenance.channels
        if rate < MIN_RATE:
            raise InputError(
                _("{path}: is sampled at {rate} Hz", path=self.path, rate=rate),
                why=_("below {least} Hz there is no speech band left; the header may be wrong", least=MIN_RATE),
                next=f"file {self.path}",
            )
        expected = _FORMATS_OF_SUFFIX.get(self.path.suffix.lower())
        if expected and self.provenance.format not in expected:
            self.notes.append(
                _("named {suffix} but holds {format}", suffix=self.path.suffix, format=self.provenance.format)
            )
        if rate <= TELEPHONE_RATE:
            self.notes.append(_("telephone band: sampled at {rate} Hz, the model was trained on 16 kHz", rate=rate))
        if channels > 1:
            self.notes.append(_("{channels} channels mixed down to one by their mean", channels=channels))

    def blocks(self) -> Iterator[Samples]:
        """Decode, mix down and resample: float32 arrays of shape [n], n > 0, at 16 kHz, in order.

        What can be decoded of a damaged file is yielded, and `damage` then holds the error to report.

        Raises:
            InputError: a NaN or infinite sample, fewer than 257 samples at 16 kHz, or nothing but silence.
        """
        levels = _Levels()
        produced = 0
        self._file.seek(0)
        if self.provenance.subtype in _FLOAT_SUBTYPES:
            self._scale = self._scale_of_floats()
        for block in self._resampled(levels):
            produced += len(block)
            yield block
        self._check_end(levels)
        self._check_levels(levels, produced)

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        """Frames [n, channels] as libsndfile scales them. A decoder that gives up sets `damage`."""
        import soundfile

        count = self.provenance.rate * BLOCK_SECONDS
        while True:
            try:
                frames = self._file.read(count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                self.damage = self._damaged(_("the decoder stops: {error}", error=str(error)))
                return
            if not len(frames):
                return
            yield frames

    def _scale_of_floats(self) -> float:
        """The factor that brings float samples into [-1, 1]; reads the file once, since any sample may decide it."""
        import numpy as np

        peak = 0.0
        position = 0
        for frames in self._decoded():
            finite = np.isfinite(frames)
            if not finite.all():
                at = (position + int(np.argmin(finite.all(axis=1)))) / self.provenance.rate
                raise InputError(
                    _("{path}: holds NaN or infinite samples, the first at {at:.2f} s", path=self.path, at=at),
                    why=_("the program that wrote it divided by zero or overflowed"),
                    next=_("write the file again from its source"),
                )
            position += len(frames)
            peak = max(peak, float(np.abs(frames).max()))
        self._file.seek(0)
        if peak <= OVER_RANGE:
            if peak > 1:
                self.notes.append(_("samples reach {peak:.2f}, over full scale; used as they are", peak=peak))
            return 1.0
        bits = 16 if peak <= 2**15 else 32
        if peak > 2**31:
            raise InputError(
                _("{path}: samples reach {peak:.3g}", path=self.path, peak=peak),
                why=_("that is neither float nor integer audio"),
            )
        self.notes.append(
            _(
                "samples reach {peak:.0f}: {bits}-bit integers stored as floats, divided by 2^{power}",
                peak=peak,
                bits=bits,
                power=bits - 1,
            )
        )
        return float(2.0 ** -(bits - 1))

    def _resampled(self, levels: _Levels) -> Iterator[Samples]:
        import numpy as np
        import soxr

        stream = None
        if self.provenance.rate != SAMPLE_RATE:
            stream = soxr.ResampleStream(
                self.provenance.rate, SAMPLE_RATE, 1, dtype="float32", quality=RESAMPLER_QUALITY
            )
        for raw in self._decoded():
            frames = raw if self._scale == 1 else raw * np.float32(self._scale)
            mixed = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
            levels.add(frames, mixed)
            block = np.ascontiguousarray(mixed) if stream is None else stream.resample_chunk(mixed)
            if len(block):
                yield block
        if stream is not None and levels.frames:
            tail = stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
            if len(tail):
                yield tail

    def _damaged(self, why: str) -> InputError:
        return InputError(
            _("{path}: is damaged or cut off", path=self.path),
            why=why,
            next=_("copy it again from its source; ls -l {path}", path=self.path),
        )

    def _check_end(self, levels: _Levels) -> None:
        """Set `damage` where less was decoded than the container promises."""
        if self.damage is not None:
            return
        info = self._file.extra_info
        short = _SHORT_DATA.search(info)
        if short and int(short[2]) < int(short[1]) < STREAMED_LENGTH:
            self.damage = self._damaged(
                _(
                    "its header promises {promised} bytes of samples, {there} are there",
                    promised=short[1],
                    there=short[2],
                )
            )
        elif _OGG_CUT in info:
            self.damage = self._damaged(_("its last Ogg page does not end the stream"))
        elif levels.frames < self.provenance.frames - self.provenance.rate // 10:
            # A tenth of a second is allowed for: MP3 headers count to a frame or two.
            self.damage = self._damaged(
                _(
                    "{decoded:.2f} s of {promised:.2f} s could be decoded",
                    decoded=levels.frames / self.provenance.rate,
                    promised=self.provenance.seconds,
                )
            )

    def _check_levels(self, levels: _Levels, produced: int) -> None:
        if produced < MIN_SAMPLES:
            if self.damage is not None:
                raise self.damage
            raise InputError(
                _("{path}: is too short ({samples} samples at 16 kHz)", path=self.path, samples=produced),
                why=_("the front end needs at least {least} samples (16 ms)", least=MIN_SAMPLES),
                next=f"ls -l {self.path}",
            )
        if levels.mixed_peak <= SILENCE < levels.peak:
            raise InputError(
                _("{path}: its channels cancel each other out when mixed", path=self.path),
                why=_("one channel is the other with its sign turned"),
                next=f"sox {self.path} one-channel.wav remix 1",
            )
        if levels.mixed_peak <= SILENCE:
            raise InputError(
                _("{path}: is silent (peak {peak:.1e} of full scale)", path=self.path, peak=levels.mixed_peak),
                why=_("nothing was recorded: a muted or wrong input"),
                next=f"sox {self.path} -n stat",
            )
        if levels.mixed_peak < QUIET:
            self.notes.append(_("very quiet: peak {peak:.1e} of full scale", peak=levels.mixed_peak))
        if levels.clipped > CLIPPED_SHARE * levels.frames:
            share = levels.clipped / levels.frames
            self.notes.append(_("clipped: {share:.1%} of the samples are at full scale", share=share))


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a whole recording.

    Raises:
        InputError: as `AudioFile` and its `blocks`, and where the file is damaged.
    """
    import numpy as np

    with AudioFile(path) as audio:
        blocks = list(audio.blocks())
        if audio.damage is not None:
            raise audio.damage
        return Recording(np.concatenate(blocks), audio.provenance, tuple(audio.notes))


def seconds(path: str | os.PathLike[str]) -> float:
    """Length of the recording as its header gives it, without decoding it.

    Raises:
        InputError: as `AudioFile`.
    """
    with AudioFile(path) as audio:
        return audio.provenance.seconds
