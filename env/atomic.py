"""Files that are there whole or not at all: written beside, flushed, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from env.errors import storage_error


def write_text(path: Path, text: str) -> None:
    """Write `text` by atomic rename: a reader sees the old file or the whole new one.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise storage_error(error, path) from error


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, as `write_text` does.

    Raises:
        StorageError: as `write_text`.
        ValueError: `value` holds a NaN or an infinity, which JSON has not.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
