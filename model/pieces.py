"""A part of a recording: from one second to another, of one of its channels or of their mean.

Times and channels are those of manifests: `offset` and `duration` in seconds, `channel_selector` counted from 0
(NeMo, nemo/collections/asr/parts/preprocessing/segment.py: AudioSegment.from_file, select_channels).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.errors import InputError
from env.language import Message, _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frames = NDArray[np.float32]  # [n, channels], at the recording's own rate

ENVELOPE_SECONDS = 0.1  # levels of channels are compared by tenths of a second: microphones apart hear the same ones,
ENVELOPE_LEAST = 20  # given two seconds of them,
EXACT_SEEK = {  # libsndfile goes to the very frame; anything else is decoded up to where a piece begins
    "format": ("WAV", "WAVEX", "FLAC", "AIFF", "RF64", "W64"),
    "subtype": ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "PCM_S8", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
}
ALIKE = 0.5  # and their levels then go together; those of two speakers on two channels take turns


@dataclass(frozen=True, slots=True)
class Piece:
    """From `start` seconds on, `seconds` long (None: to the end); `channels` count from 0 (None: all of them).

    Several channels are mixed by their mean.
    """

    start: float = 0.0
    seconds: float | None = None
    channels: tuple[int, ...] | None = None

    @property
    def whole(self) -> bool:
        return self.start == 0 and self.seconds is None

    def mixing(self, path: Path, channels: int) -> list[Message]:
        """What is to be known of how a recording with so many channels becomes one.

        Raises:
            InputError: it lacks a channel that is to be taken.
        """
        for channel in self.channels or ():
            if not 0 <= channel < channels:
                raise InputError(
                    _("{path}: has no channel {channel}", path=path, channel=channel),
                    why=_("it has {count}, counted from 0", count=channels),
                    next=_("--channels split, or look at channel_selector in the manifest"),
                )
        if channels == 1:
            return []
        if self.channels is None or len(self.channels) == channels:
            return [_("{channels} channels mixed down to one by their mean", channels=channels)]
        chosen = ", ".join(map(str, self.channels))
        return [_("channel {chosen} of {channels}, counted from 0", chosen=chosen, channels=channels)]


WHOLE = Piece()


class Cutter:
    """Cuts a piece out of a recording that is decoded block by block.

    `seen` counts the frames that were decoded, `done` says that the end of the piece was reached.
    """

    def __init__(self, piece: Piece, rate: int) -> None:
        self.piece = piece
        self.seen = 0
        self._rate = rate
        self._first = round(piece.start * rate)
        self._last = None if piece.seconds is None else self._first + round(piece.seconds * rate)
        self._hop = max(1, round(ENVELOPE_SECONDS * rate))
        self._levels: list[Frames] = []  # [hops, channels] each
        self._kept = 0

    @property
    def done(self) -> bool:
        return self._last is not None and self.seen >= self._last

    def skip(self, file: Any) -> None:
        """Go to the beginning of the piece at once, in an open SoundFile that can be asked to."""
        exact = all(getattr(file, name) in values for name, values in EXACT_SEEK.items())
        if exact and 0 < self._first < file.frames:
            self.seen = file.seek(self._first)

    def frames(self, decoded: Iterator[Frames]) -> Iterator[Frames]:
        """Frames [n, channels] of the piece, n > 0, of the chosen channels."""
        for block in decoded:
            begin = max(self._first - self.seen, 0)
            end = len(block) if self._last is None else self._last - self.seen
            self.seen += len(block)
            inside = block[begin : max(end, 0)]
            if self.piece.channels is not None:
                inside = inside[:, list(self.piece.channels)]
            if len(inside):
                self._kept += len(inside)
                self._measure(inside)
                yield inside
            if self.done:
                return

    def _measure(self, frames: Frames) -> None:
        """Keep the levels of several channels, by tenths of a second; what is left of a block is not counted."""
        import numpy as np

        channels = frames.shape[1]
        hops = len(frames) // self._hop
        if channels > 1 and hops:
            grid = frames[: hops * self._hop].reshape(hops, self._hop, channels)
            self._levels.append(np.sqrt(np.square(grid).mean(axis=1)))

    def ended(self, path: Path, damage: InputError | None) -> list[Message]:
        """What is to be known of a piece that was decoded to its end.

        Raises:
            InputError: the recording has ended before the piece begins; `damage`, where that is why.
        """
        if self._first and not self._kept:
            raise damage or InputError(
                _("{path}: has nothing at {start:g} s", path=path, start=self.piece.start),
                why=_("it is {seconds:.2f} s long", seconds=self.seen / self._rate),
                next=_("look at the offset in the manifest"),
            )
        apart = self._apart()
        return [] if apart is None else [apart]

    def _apart(self) -> Message | None:
        """That the channels which were mixed hold different things, where their levels do not go together."""
        import numpy as np

        if not self._levels:
            return None
        levels = np.concatenate(self._levels)
        spread = levels.std(axis=0)
        if len(levels) < ENVELOPE_LEAST or not (spread > 0).all() or not np.isfinite(levels).all():
            return None
        least = float(np.corrcoef(levels.T).min())
        if least >= ALIKE:
            return None
        return _(
            "its channels hold different sound (their levels correlate by {least:.2f}), as where each has a speaker of "
            "its own: --channels split transcribes each, --channels 0 the first",
            least=least,
        )
