"""TOML by the standard library, or by tomli on the Python that has none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

__all__ = ["TOMLDecodeError", "load_toml", "loads"]


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        OSError: it cannot be read.
        TOMLDecodeError: it is no TOML.
    """
    return loads(path.read_text(encoding="utf-8"))
