"""The processor of a record is the one that computes, on both architectures, and an emulated one is said to be so."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from model import cpu

CPU_INFO = {
    "x86": (
        "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8369B CPU\n",
        "Intel(R) Xeon(R) Platinum 8369B CPU",
    ),
}
CPU_INFO_AARCH64 = {
    "Kunpeng 920": ("CPU implementer\t: 0x48\nCPU part\t: 0xd01\n", "HiSilicon TaiShan-v110 (Kunpeng 920)"),
    "another of HiSilicon": (
        "CPU implementer\t: 0x48\nCPU part\t: 0xd06\n",
        "aarch64 implementer 0x48 part 0xd06",
    ),
    "with a name": ("model name\t: Phytium,D2000/8\nCPU implementer\t: 0x70\nCPU part\t: 0x663\n", "Phytium,D2000/8"),
    "emulated on x86": (
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor\n",
        "aarch64 emulated on Intel(R) Xeon(R) Processor",
    ),
    "no file": ("", "aarch64"),
}


@pytest.mark.parametrize(
    ("machine", "text", "name"),
    [("x86_64", *CPU_INFO["x86"]), *(("aarch64", *row) for row in CPU_INFO_AARCH64.values())],
    ids=[*CPU_INFO, *CPU_INFO_AARCH64],
)
def test_the_cpu_is_named_on_both_architectures(
    machine: str, text: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda path, **options: text)
    assert cpu.name() == name
