"""Audio files as the model needs them: mono, 16 kHz, float32 in [-1, 1], with a record of what was done to get there.

The processor checks neither rate, nor channels, nor scale, and goes silently wrong; so everything is checked here.
A file is decoded block by block: hours of audio need no more memory than one block.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from env.errors import InputError
from env.language import _
from model.codecs import CodecError, guarded
from model.foreign import shell
from model.levels import SILENCE_DBFS
from model.opening import open_decoder
from model.pieces import WHOLE, Cutter, Piece

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz, the rate of GraniteSpeechFeatureExtractor's mel filters
MIN_SAMPLES = 257  # n_fft 512 is padded by reflection with 256 samples on each side, which needs one more
MIN_RATE = 4_000  # Hz: below it, the voice band itself is missing
TELEPHONE_RATE = 8_000  # Hz
NOTHING = 1 / 32_768  # peak of one 16-bit step (-90 dBFS)
FAINT = 10 ** (SILENCE_DBFS / 20)  # a peak under it is silence, which is no fault of a file
QUIET = 0.001  # -60 dBFS
OFFSET = 0.01  # of full scale, from which on a constant part is told
FULL_SCALE = 0.9999
CLIPPED_SHARE = 0.001  # of samples at full scale, above which a recording is called clipped
OVER_RANGE = 8.0  # +18 dBFS: no float recording goes there, so its samples are integers stored as floats
BLOCK_SECONDS = 1  # a decoder that gives up loses at most the block it was in
RESAMPLER_QUALITY = "HQ"  # librosa's default, soxr_hq
STREAMED_LENGTH = 0x7FFF_0000  # writers to a pipe put a length about here or above, since they do not know it

_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE", "pcm_f")  # how libsndfile's and FFmpeg's names of them begin
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
    decoder: str | None = None  # None: libsndfile

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
    total: float = 0.0

    def add(self, frames: NDArray[np.float32], mixed: Samples) -> None:
        import numpy as np

        size = np.abs(frames)
        self.frames += len(frames)
        self.clipped += int(np.count_nonzero(size.max(axis=1) >= FULL_SCALE))
        self.peak = max(self.peak, float(size.max()))
        self.mixed_peak = max(self.mixed_peak, float(np.abs(mixed).max()))
        self.total += float(mixed.sum(dtype=np.float64))


class AudioFile:
    """An open recording. `blocks` decodes it once; after that `damage` and `notes` say what came up on the way.

    Raises:
        InputError: the file cannot be opened or is no audio.
    """

    def __init__(self, path: str | os.PathLike[str], piece: Piece = WHOLE) -> None:
        self.path = Path(path)
        self.piece = piece
        self._file, notes = open_decoder(self.path)
        self.notes: list[str] = [*notes]
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
            str(self.path),
            file.format,
            file.subtype,
            file.samplerate,
            file.channels,
            file.frames,
            resampler,
            file.library,
        )

    def _check_header(self) -> None:
        rate, channels = self.provenance.rate, self.provenance.channels
        if rate < MIN_RATE:
            raise InputError(
                _("{path}: is sampled at {rate} Hz", path=self.path, rate=rate),
                why=_("below {least} Hz there is no speech band left; the header may be wrong", least=MIN_RATE),
                next=f"file {shell(self.path)}",
            )
        expected = _FORMATS_OF_SUFFIX.get(self.path.suffix.lower())
        if expected and self.provenance.format not in expected:
            self.notes.append(
                _("named {suffix} but holds {format}", suffix=self.path.suffix, format=self.provenance.format)
            )
        if rate <= TELEPHONE_RATE:
            self.notes.append(_("telephone band: sampled at {rate} Hz, the model was trained on 16 kHz", rate=rate))
        self.notes += self.piece.mixing(self.path, channels)

    def blocks(self) -> Iterator[Samples]:
        """Decode, mix down and resample: float32 arrays of shape [n], n > 0, at 16 kHz, in order.

        What can be decoded of a damaged file is yielded, and `damage` then holds the error to report.

        Raises:
            InputError: a NaN or infinite sample, or fewer than 257 samples at 16 kHz.
        """
        levels = _Levels()
        cutter = Cutter(self.piece, self.provenance.rate)
        produced = 0
        if self.provenance.subtype.startswith(_FLOAT_SUBTYPES):
            self._scale = self._scale_of_floats()
        cutter.skip(self._file)
        for block in self._resampled(levels, cutter):
            produced += len(block)
            yield block
        if not cutter.done:
            self._check_end(cutter.seen)
        self.notes += cutter.ended(self.path, self.damage)
        self._check_levels(levels, produced)

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        """Frames [n, channels] as the decoder scales them. One that gives up sets `damage`."""
        count = self.provenance.rate * BLOCK_SECONDS
        while True:
            try:
                frames = self._file.read(count)
            except CodecError as error:
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
        self._file.close()
        self._file, _notes = open_decoder(self.path)  # again from its beginning: not every codec can seek
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

    def _resampled(self, levels: _Levels, cutter: Cutter) -> Iterator[Samples]:
        import numpy as np
        import soxr

        rate, stream = self.provenance.rate, None
        if rate != SAMPLE_RATE:
            try:
                with guarded():
                    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=RESAMPLER_QUALITY)
            except CodecError as error:
                raise InputError(
                    _("{path}: cannot be resampled from {rate} Hz", path=self.path, rate=rate), why=str(error)
                ) from error
        for raw in cutter.frames(self._decoded()):
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
            next=_("copy it again from its source; ls -l {path}", path=shell(self.path)),
        )

    def _check_end(self, decoded: int) -> None:
        """Set `damage` where fewer frames were decoded than the container promises."""
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
        elif decoded < self.provenance.frames - self.provenance.rate // 10:
            # A tenth of a second is allowed for: MP3 headers count to a frame or two.
            self.damage = self._damaged(
                _(
                    "{decoded:.2f} s of {promised:.2f} s could be decoded",
                    decoded=decoded / self.provenance.rate,
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
                next=f"ls -l {shell(self.path)}",
            )
        if levels.mixed_peak <= NOTHING and levels.peak >= QUIET:
            raise InputError(
                _("{path}: its channels cancel each other out when mixed", path=self.path),
                why=_("one channel is the other with its sign turned"),
                next=f"sox {shell(self.path)} one-channel.wav remix 1",
            )
        if FAINT < levels.mixed_peak < QUIET:
            self.notes.append(_("very quiet: peak {peak:.1e} of full scale", peak=levels.mixed_peak))
        offset = levels.total / levels.frames
        if abs(offset) > OFFSET:
            self.notes.append(_("has a constant part (DC) of {offset:+.1%} of full scale", offset=offset))
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
