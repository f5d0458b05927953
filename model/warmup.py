"""Untimed rounds before the timed ones: what is compiled, cached or allocated at first use is not the model's speed."""

from __future__ import annotations

from collections.abc import Iterable

from env.errors import InputError
from model import windows
from model.audio import AudioFile
from model.decoding import Reader
from model.prompts import Prompt
from model.sources import Source


def warm_up(reader: Reader, sources: Iterable[Source], prompt: Prompt, rounds: int, limit_seconds: float) -> None:
    """Decode the first window of the first recording that can be read, a full batch of it, `rounds` times.

    Raises:
        OutOfMemoryError, DeviceError, UsageError: as the reader.
    """
    if not rounds:
        return
    for source in sources:
        try:
            with AudioFile(source.path, source.piece) as audio:
                window = next(iter(windows.split(audio.blocks(), limit_seconds)))
        except (InputError, StopIteration):
            continue
        for _round in range(rounds):
            reader.decode([window.samples] * reader.batch_size, [prompt] * reader.batch_size)
        return
