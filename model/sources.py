"""What there is to transcribe: the recordings that a command line names, whole or channel by channel."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from env.errors import InputError, UsageError, storage_error
from env.language import _
from model import files
from model.audio import AudioFile
from model.pieces import WHOLE, Piece

MIX, SPLIT = "mix", "split"


@dataclass(frozen=True)
class Source:
    """One thing to transcribe: a recording or a piece of it. `label` is how it is called in results."""

    path: Path
    label: str
    piece: Piece = WHOLE


def channel_choice(text: str) -> str:
    """An argparse type: mix, split or the number of a channel, counted from 0.

    Raises:
        UsageError: it is none of them.
    """
    if text not in (MIX, SPLIT) and not (text.isascii() and text.isdigit()):
        raise UsageError(
            _("--channels {text}: neither mix nor split nor a channel's number", text=text),
            next=_("--channels 0 for the first one; --channels split for a transcript of each"),
        )
    return text


def chosen(channels: str) -> tuple[int, ...] | None:
    """The channels that --channels names; None where it names none."""
    return (int(channels),) if channels.isdigit() else None


def channel_count(path: Path) -> int:
    """How many channels a recording has by its header; 1 for one that cannot be opened, which is told in its turn."""
    try:
        with AudioFile(path) as audio:
            return audio.provenance.channels
    except InputError:
        return 1


def each_channel(path: Path) -> list[tuple[int, ...] | None]:
    """Every channel of a recording by itself; of a single one the whole."""
    count = channel_count(path)
    return [None] if count == 1 else [(channel,) for channel in range(count)]


@contextmanager
def named(words: Sequence[str], channels: str = MIX) -> Iterator[list[Source]]:
    """The sources that words of a command line name; `-` is standard input, kept in a file for as long as this lasts.

    Raises:
        UsageError, InputError: as `files.expand`.
        StorageError: there is no room for what comes by standard input.
    """
    with tempfile.TemporaryDirectory() as folder:
        labelled = []
        for word in words:
            if word in files.STDIN:
                labelled.append((_standard_input(Path(folder)), "stdin"))
            else:
                labelled += [(path, str(path)) for path in files.expand([word])]
        yield [source for path, label in dict.fromkeys(labelled) for source in _pieces(path, label, channels)]


def _pieces(path: Path, label: str, channels: str) -> Iterator[Source]:
    if channels != SPLIT:
        yield Source(path, label, Piece(channels=chosen(channels)))
        return
    for each in each_channel(path):
        yield Source(path, label if each is None else f"{label}#{each[0]}", Piece(channels=each))


def _standard_input(folder: Path) -> Path:
    path = folder / "stdin"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise storage_error(error, path) from error
    return path
