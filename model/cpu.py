"""What /proc says of the processor and of memory."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path


def name() -> str:
    """The CPU's name; /proc/cpuinfo of aarch64 has only the implementer's and the part's numbers."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _colon, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:
        return f"{platform.machine()} implementer {fields.get('CPU implementer')} part {fields['CPU part']}"
    return platform.machine()


def kilobytes(path: Path, field: str) -> int | None:
    """The bytes of a field that a file of /proc gives in kB; None where it is not there."""
    with contextlib.suppress(OSError):
        match = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    return None
