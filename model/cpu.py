"""What /proc says of the processor and of memory."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path

# By (CPU implementer, CPU part): HiSilicon's, as lscpu names them (util-linux, sys-utils/lscpu-arm.c).
HISILICON = {("0x48", "0xd01"): "HiSilicon TaiShan-v110 (Kunpeng 920)", ("0x48", "0xd02"): "HiSilicon TaiShan-v120"}


def name() -> str:
    """The CPU's name; /proc/cpuinfo of aarch64 has only the implementer's and the part's numbers, and under user-mode
    emulation it is the one of the machine that emulates.
    """
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _colon, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    machine, model = platform.machine(), fields.get("model name")
    if machine == "aarch64" and "vendor_id" in fields:  # a field of x86 alone
        return f"{machine} emulated on {model}"
    if "CPU part" in fields:
        implementer, part = fields.get("CPU implementer", "unknown"), fields["CPU part"]
        return model or HISILICON.get((implementer, part)) or f"{machine} implementer {implementer} part {part}"
    return model or machine


def kilobytes(path: Path, field: str) -> int | None:
    """The bytes of a field that a file of /proc gives in kB; None where it is not there."""
    with contextlib.suppress(OSError):
        match = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    return None
