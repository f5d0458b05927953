"""What decodes a recording: libsndfile, and PyAV, where it is installed, for containers that libsndfile does not read.

Files are decoded forward. Fourteen pairs of container and encoding of libsndfile 1.2.2 cannot be sought in (GSM 6.10,
G.721, G.723, NMS ADPCM, DWVW, XI's DPCM): two of them say that they can, and fail at the first read after it.
Whatever a codec library raises is a `CodecError`: one bad file never ends the work on the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from env.toml import load_toml
from model.pieces import EXACT_SEEK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frames = NDArray[np.float32]  # [n, channels]

MPEG_FORMATS = ("MP3", "MPEG")
SKIP_FRAMES = 65_536


class CodecError(Exception):
    """A codec library could not open or decode a file; the text is what it had to say."""


class Decoder(Protocol):
    """An open recording. `frames` is what the container promises, 0 where it promises nothing."""

    format: str
    subtype: str
    samplerate: int
    channels: int
    frames: int
    library: str | None  # None: libsndfile

    @property
    def extra_info(self) -> str:
        """What the library has to say of the container."""

    def read(self, count: int) -> Frames:
        """The next `count` frames at most, float32 [n, channels]; none at the end. Raises: CodecError."""

    def seek(self, frame: int) -> int:
        """Go forward to `frame`, or to the end; the position reached. Raises: CodecError."""

    def close(self) -> None: ...


@contextmanager
def guarded() -> Iterator[None]:
    """Turn whatever a codec library raises into a CodecError.

    Raises:
        CodecError.
    """
    try:
        yield
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(str(error).rpartition(": ")[2] or type(error).__name__) from error


@contextmanager
def _muted() -> Iterator[None]:
    """Keep the terminal free of what libmpg123 writes to it: a page and more for a file that is not MPEG audio."""
    if sys.stderr is None:  # closed when the program began (2>&-): 2 may then be the recording itself
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class SndfileDecoder:
    """libsndfile, forward only. `raw`: what a headerless file holds.

    Raises:
        CodecError: libsndfile does not open it.
    """

    library: str | None = None

    def __init__(self, path: Path, raw: dict[str, Any] | None = None) -> None:
        import soundfile

        class Forward(soundfile.SoundFile):  # type: ignore[misc]
            """soundfile seeks after each read to where it already is, if the file can be sought in."""

            def seekable(self) -> bool:
                return False

        # By descriptor, not by name: soundfile would guess from a name that ends in .raw and refuse it.
        # libsndfile closes the descriptor, also where it refuses the file.
        with guarded(), _muted():
            self._file = Forward(os.open(path, os.O_RDONLY), closefd=True, **(raw or {}))
        self.format: str = self._file.format
        self.subtype: str = self._file.subtype
        self.samplerate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        self._sought = all(getattr(self, name) in values for name, values in EXACT_SEEK.items())
        self._position = 0

    @property
    def extra_info(self) -> str:
        return str(self._file.extra_info)

    def read(self, count: int) -> Frames:
        with guarded():
            if self.format in MPEG_FORMATS:
                with _muted():
                    frames: Frames = self._file.read(count, dtype="float32", always_2d=True)
            else:
                frames = self._file.read(count, dtype="float32", always_2d=True)
        self._position += len(frames)
        return frames

    def seek(self, frame: int) -> int:
        if self._sought:
            with guarded():
                self._position = int(self._file.seek(min(frame, self.frames)))
        while self._position < frame and len(self.read(min(SKIP_FRAMES, frame - self._position))):
            pass
        return self._position

    def close(self) -> None:
        self._file.close()


class PyavDecoder:
    """FFmpeg's libraries by PyAV, where it is installed: M4A, MP4, WebM, AAC, WMA and the like.

    Raises:
        CodecError: it cannot open the file, or the file has no audio in it.
    """

    def __init__(self, path: Path) -> None:
        import av

        with guarded():
            self._container = av.open(str(path.absolute()))  # relative names with a colon are taken for addresses
        try:
            if not self._container.streams.audio:
                raise CodecError("it has no audio stream")
            with guarded():
                stream = self._container.streams.audio[0]
                context = stream.codec_context
                self.format: str = self._container.format.name
                self.subtype: str = context.name
                self.samplerate: int = int(context.sample_rate)
                self.channels: int = int(context.channels)
                self.frames = self._promised(stream)
                self._resampler = av.AudioResampler(format="fltp", layout=context.layout, rate=context.sample_rate)
                self._decoded = self._container.decode(stream)
        except BaseException:
            self._container.close()
            raise
        self.library: str | None = f"PyAV {av.__version__}"
        self.extra_info = ""
        self._held: list[Frames] = []
        self._position = 0

    def _promised(self, stream: Any) -> int:
        if stream.duration is not None:
            return int(stream.duration * stream.time_base * self.samplerate)
        return int((self._container.duration or 0) * self.samplerate / 1_000_000)  # in microseconds (AV_TIME_BASE)

    def read(self, count: int) -> Frames:
        import numpy as np

        held = sum(len(block) for block in self._held)
        with guarded():
            while held < count:
                frame = next(self._decoded, None)
                if frame is None:
                    break
                for part in self._resampler.resample(frame):
                    self._held.append(np.ascontiguousarray(part.to_ndarray().T, dtype=np.float32))
                    held += len(self._held[-1])
        joined = np.concatenate(self._held) if self._held else np.zeros((0, self.channels), dtype=np.float32)
        self._held = [joined[count:]] if len(joined) > count else []
        self._position += len(joined[:count])
        return joined[:count]

    def seek(self, frame: int) -> int:
        while self._position < frame and len(self.read(min(SKIP_FRAMES, frame - self._position))):
            pass
        return self._position

    def close(self) -> None:
        self._container.close()


def pyav_is_there() -> bool:
    """Whether PyAV is installed: an extra of its own, since it brings FFmpeg with it."""
    from importlib.util import find_spec

    return find_spec("av") is not None


@cache
def headerless() -> dict[str, dict[str, Any]]:
    """What files without a header hold, where their name's ending tells it: suffix to soundfile's arguments."""
    rows = load_toml(Path(__file__).parent / "headerless.toml")["file"]
    return {suffix: row for row in rows for suffix in row["suffixes"]}


def raw_arguments(path: Path) -> dict[str, Any] | None:
    """Soundfile's arguments for a headerless file whose name tells what it holds."""
    row = headerless().get(path.suffix.lower())
    if row is None:
        return None
    return {"format": "RAW", "subtype": row["subtype"], "samplerate": row["rate"], "channels": 1}


# Kilobits a second by index, ISO/IEC 11172-3, 2.4.2.3 and 13818-3, 2.4.2.3: version 1 or 2, layer.
_BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # of version 1; half of it in version 2, a quarter in version 2.5
_FREE_FORMAT = 0


def mpeg_frame_length(head: bytes) -> int | None:
    """Bytes of the MPEG audio frame whose header begins `head`; None where it is none, or of free format."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version = {0: 4, 2: 2, 3: 1}.get(head[1] >> 3 & 3)  # by what the rate is divided
    layer = 4 - (head[1] >> 1 & 3)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version is None or layer == 4 or bitrate in (_FREE_FORMAT, 15) or rate == 3:
        return None
    bits = _BITRATES[min(version, 2), layer][bitrate] * 1000
    hertz, padding = _RATES[rate] // version, head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    samples_in_8 = 72 if layer == 3 and version > 1 else 144
    return samples_in_8 * bits // hertz + padding


def begins_as_mpeg(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that libsndfile would take for MPEG audio (its first 11 bits are set) is that.

    Headerless samples of -1 begin so too; in MPEG audio the next frame begins where the first says that it ends.
    """
    if head.startswith(b"ID3"):
        return True
    length = mpeg_frame_length(head)
    return length is not None and (length >= size or mpeg_frame_length(head[length : length + 4]) is not None)
