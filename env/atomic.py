"""Files that are there whole or not at all: written beside, flushed, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from env.errors import storage_error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder at; it takes the place of `path` when the block is left whole.

    Raises:
        StorageError: an OSError in the block or of the rename; nothing half-written is left, the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        _remove(temporary)


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
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, as `write_text` does.

    Raises:
        StorageError: as `write_text`.
        ValueError: `value` holds a NaN or an infinity, which JSON has not.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
