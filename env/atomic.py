"""Files that are there whole or not at all: written beside, flushed, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from env.errors import storage_error
from env.language import _


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder at; it takes the place of `path` when the block is left whole.

    Raises:
        StorageError: `path` is a device or a pipe; an OSError in the block or of the rename; nothing half-written is
            left, the old file is untouched.
    """
    if not path.name:
        raise storage_error(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if is_special(path):
        raise storage_error(OSError(errno.EINVAL, _("it is no regular file")), path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        _remove(temporary)


def is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket, or leads to one: it is never replaced.

    Raises:
        StorageError: no file can have such a name: a NUL, or half a character in it.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    except ValueError as error:
        raise storage_error(OSError(errno.EINVAL, os.strerror(errno.EINVAL)), ascii(str(path))) from error
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` by atomic rename: a reader sees the old file or the whole new one.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    if is_special(path):  # /dev/stdout, /dev/null: written into
        _write_into(path, text)
        return
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _write_into(path: Path, text: str) -> None:
    try:
        # A pipe without a reader is an error, and never waited for.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY), "w", encoding="utf-8") as file:
            os.set_blocking(file.fileno(), True)
            file.write(text)
    except OSError as error:
        raise storage_error(error, path) from error


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, as `write_text` does.

    Raises:
        StorageError: as `write_text`.
        ValueError: `value` holds a NaN or an infinity, which JSON has not.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
