"""Read the smaller outputs of npu-smi: `info -l`, `info -m`, and the topics of `info -t` (board, health, memory, ...).

As in env/npu_smi.py nothing raises on any text; what does not fit is left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from env.npu_smi import Process

_WIDE_GAP = re.compile(r"\s{2,}")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_PROCESS = re.compile(
    r"Process id ?: ?([0-9]{1,9})\s+Process name ?: ?(.{0,200}?)\s*Process memory\(MB\) ?: ?([0-9]{1,9}|NA|-)?\s*\Z"
)
_LONGEST_LINE = 1000


class MappedChip(NamedTuple):
    """A row of `npu-smi info -m`. `logic` is None for what is not a chip: the Mcu of a card."""

    npu: int
    chip: int
    logic: int | None
    name: str


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if len(line) <= _LONGEST_LINE]


def fields(text: str) -> list[dict[str, str]]:
    """The "key : value" blocks of `npu-smi info -l` and `info -t TOPIC`.

    A block ends where one of its keys comes again: the next NPU of -l, the next chip of a topic. A line without a
    key continues the value above it, as the sentences of "Error Information" do.
    """
    blocks: list[dict[str, str]] = []
    key = ""
    for line in _lines(text):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if colon and name:
            key = name
            if not blocks or key in blocks[-1]:
                blocks.append({})
            blocks[-1][key] = value
        elif line and blocks and key:
            blocks[-1][key] = f"{blocks[-1][key]}\n{line}"
    return blocks


def card_ids(text: str) -> list[int]:
    """The NPU ids of `npu-smi info -l`, in its order."""
    return [int(block["NPU ID"]) for block in fields(text) if _WHOLE.match(block.get("NPU ID", ""))]


def chip_map(text: str) -> list[MappedChip]:
    """The rows of `npu-smi info -m`."""
    rows = []
    for line in _lines(text):
        cells = _WIDE_GAP.split(line)
        if len(cells) == 4 and _WHOLE.match(cells[0]) and _WHOLE.match(cells[1]):
            npu, chip, logic, name = cells
            rows.append(MappedChip(int(npu), int(chip), int(logic) if _WHOLE.match(logic) else None, name))
    return rows


def process_memory(text: str, npu: int, chip: int) -> list[Process]:
    """The processes of `npu-smi info -t proc-mem -i NPU -c CHIP`, whose output does not repeat the ids asked for."""
    found = (_PROCESS.match(line) for line in _lines(text))
    return [
        Process(npu, chip, int(row[1]), row[2] or None, int(row[3]) if row[3] and row[3].isdigit() else None)
        for row in found
        if row is not None
    ]
