"""A file to a decoder of it: libsndfile, a headerless file's name, PyAV; or the error that says what it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from env import elsewhere
from env.errors import InputError
from env.language import _
from model.codecs import (
    CodecError,
    Decoder,
    PyavDecoder,
    SndfileDecoder,
    begins_as_mpeg,
    pyav_is_there,
    raw_arguments,
)
from model.foreign import HEAD_BYTES, not_audio, row_for, shell

_MPEG_SYNC = 0xE0  # the three bits of the second byte that are set in MPEG audio


def read_head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a regular, non-empty file, and its size.

    Raises:
        InputError: it is none, or cannot be read.
    """
    listing = f"ls -l {shell(path)}"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: to open a pipe would wait for its writer
            what = (
                _("{path}: is a directory", path=path)
                if path.is_dir()
                else _("{path}: is not a regular file", path=path)
            )
            raise InputError(what, why=_("an audio file is needed"), next=listing)
        with elsewhere.opened(path) as file:
            head, size = file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise InputError(_("{path}: no such file", path=path), next=f"ls -l {shell(path.parent)}") from error
    except PermissionError as error:
        raise InputError(_("{path}: permission denied", path=path), next=listing) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(_("{path}: cannot be opened: {error}", path=path, error=str(error)), next=listing) from error
    if size == 0:
        raise InputError(
            _("{path}: is empty (0 bytes)", path=path), why=_("a copy or recording did not finish"), next=listing
        )
    return head, size


def _taken_for_mpeg(head: bytes, size: int) -> bool:
    """Whether libsndfile would take for MPEG audio what is none, by its first eleven bits."""
    synced = len(head) > 1 and head[0] == 0xFF and head[1] & _MPEG_SYNC == _MPEG_SYNC
    return synced and not begins_as_mpeg(head, size)


def open_decoder(path: Path) -> tuple[Decoder, tuple[str, ...]]:
    """A decoder of the recording at `path`, and what there is to know of how it was opened.

    Raises:
        InputError: it is no regular file, is empty, or cannot be decoded here; the message says what it is.
    """
    head, size = read_head(path)
    raw = raw_arguments(path)
    try:
        if _taken_for_mpeg(head, size):
            raise CodecError("not MPEG audio")
        return SndfileDecoder(path), ()
    except CodecError as error:
        refusal = error
    if raw is not None:
        try:
            decoder = SndfileDecoder(path, raw)
            by_name = {"subtype": decoder.subtype, "rate": decoder.samplerate}
            return decoder, (_("no header: read as {subtype} at {rate} Hz by its name", **by_name),)
        except CodecError as error:
            refusal = error
    row = row_for(head)
    said_by_pyav: str | None = None
    installed = pyav_is_there()
    if row is not None and row.get("pyav") and installed:
        try:
            return PyavDecoder(path), ()
        except CodecError as error:
            said_by_pyav = str(error)
    raise not_audio(path, str(refusal), pyav=said_by_pyav, pyav_is_there=installed) from refusal
