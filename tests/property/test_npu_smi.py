"""Whatever text npu-smi, a preload library or a broken terminal leaves: reading it never raises, and invents nothing.

8,000 cases in all, in at most ten seconds.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env.npu_smi import Kind, Reading, parse

CASES = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
DATA = Path(__file__).resolve().parents[1] / "data" / "npu-smi"
OUTPUTS = [path.read_text(encoding="utf-8") for path in sorted(DATA.glob("*.txt"))]
TABLES = [text for text in OUTPUTS if parse(text).chips]
# One drawn byte is one piece: drawing bytes is the cheapest text hypothesis has, and still shrinks.
PIECES = [
    *("|", "||", "+", "=", "\n", "\r\n", "\0", "\x1b[31m", "\ufeff", "\u0663", "\u2028", "...", "/", " / ", "-", "NA"),
    *("N/A", "9" * 5000, "x" * 100_000, "|" * 3000, "1e309", "-1", "0x10", "910B", "OK", "No running processes found"),
    *("npu-smi", "Version:", "\n| NPU   Name | Health | x |", "\n| Chip  Phy-ID | Bus-Id | HBM-Usage(MB) |\n"),
    *(
        "\n| NPU Chip | Process id | Process name | Process memory(MB) |\n",
        "ret is -8005",
        "dcmi module initialize failed",
    ),
    *(
        "\n| 0 0 | 1 | a | 2 |\n",
        "\n| 7 910B | OK | 1 2 3 / 4 |",
        "\n| 7 7 | 0:0 | 1 2/3 4/5 |\n",
        "\ud800",
        "\U0001f40d",
    ),
    ":",
]
PIECES += [chr(code) for code in range(0x20, 0x7F)] + [" ", "\n", "0", "|"] * 26
BYTES = st.binary(max_size=60)
TABLE_AND_EDITS = st.binary(min_size=1, max_size=60)


def pieced(data: bytes) -> str:
    return "".join(PIECES[byte % len(PIECES)] for byte in data)


def damaged(data: bytes) -> str:
    """A table, the first byte says which, with up to eight edits of four bytes: where (2), how much is cut, what is
    put there.
    """
    text = TABLES[data[0] % len(TABLES)]
    for edit in zip(*[iter(data[1:33])] * 4, strict=False):
        start = (edit[0] << 8 | edit[1]) % (len(text) + 1)
        text = text[:start] + PIECES[edit[3] % len(PIECES)] + text[start + edit[2] % 40 :]
    return text


def hold(text: str, reading: Reading) -> None:
    """What is true of every reading of every text."""
    value = reading.as_dict()
    assert json.loads(json.dumps(value)) == value
    if reading.kind is Kind.TABLE:
        assert len({(chip.npu, chip.chip) for chip in reading.chips}) == len(reading.chips)
    assert (reading.kind is Kind.FAILURE) <= (reading.error is not None)
    assert bool(reading.chips or reading.processes) <= (reading.kind.exit_code == 0)
    assert all(len(line) <= 203 for line in reading.unread)
    shown = re.sub(r"\x1b\[[0-9;]{0,20}[A-Za-z]", "", text)
    for chip in reading.chips:
        numbers = (chip.npu, chip.chip or None, chip.phy, chip.hbm_used_mb, chip.hbm_total_mb)  # 950 prints no chip 0
        words = (chip.name, chip.health, chip.bus, *(str(number) for number in numbers if number is not None))
        assert all(word is None or word in shown for word in words)


@settings(CASES, max_examples=1000)
@given(st.text())
def test_any_text_is_read_without_an_exception(text: str) -> None:
    hold(text, parse(text))


@settings(CASES, max_examples=3000)
@given(BYTES.map(pieced))
def test_text_that_looks_like_a_table_is_read_without_an_exception(text: str) -> None:
    hold(text, parse(text))


@pytest.mark.slow
@settings(CASES, max_examples=4000)
@given(TABLE_AND_EDITS.map(damaged))
def test_a_damaged_table_is_read_without_an_exception(text: str) -> None:
    hold(text, parse(text))
