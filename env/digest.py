"""The SHA-256 of a file of any size."""

from __future__ import annotations

import hashlib
from pathlib import Path

from env.elsewhere import opened

BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex, read in blocks.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    digest = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
