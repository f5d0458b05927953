"""Whatever a log holds: the doctor reads it to its end, invents no line, and puts nothing before its cause.

200 logs in all, in a few seconds.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env.doctor import diagnose, page
from env.language import translate

CASES = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
LOGS = sorted((Path(__file__).resolve().parents[1] / "field" / "logs").glob("*.log"))
TEXTS = [path.read_text(encoding="utf-8") for path in LOGS]
PIECES = [
    *("\n", "\r\n", "\\n", "\0", "\x1b[31m", "\ufeff", " " * 200, "x" * 9000, "(" * 500, "error " * 300, "EI0006"),
    *("507015", " error code is ", "0x7020010", "errNo[0x0000000005000002]", "drvRet=87", "ret is -8020", "EE1001: "),
    *(
        "[ERROR] GE(7,p):2026-01-01-00:00:00.000.000 ",
        "undefined symbol: _Z" + "N" * 400,
        "E40021:",
        "\ud800",
        "错误码",
    ),
]


def mutated(data: bytes) -> str:
    """A log, the first byte says which, with edits of four bytes: where (2), how much is cut, what is put there."""
    text = TEXTS[data[0] % len(TEXTS)]
    for edit in zip(*[iter(data[1:])] * 4, strict=False):
        start = (edit[0] << 8 | edit[1]) % (len(text) + 1)
        text = text[:start] + PIECES[edit[3] % len(PIECES)] + text[start + edit[2] % 60 :]
    return text


@CASES
@given(st.binary(min_size=1, max_size=41).map(mutated))
def test_mutated_logs_are_read_and_told(text: str) -> None:
    """Each line exists, echoes stand last, no failure twice, and the answer can be shown in both languages."""
    diagnoses = diagnose(text)
    lines = text.encode("utf-8", "replace").count(b"\n") + 1
    assert all(1 <= each.line <= lines for each in diagnoses)
    echoes = [each.failure.echo for each in diagnoses]
    assert echoes == sorted(echoes)
    assert len({each.failure.id for each in diagnoses}) == len(diagnoses)
    assert all(translate(part, language) for part in page(diagnoses, []) for language in ("en", "zh"))


@CASES
@given(st.binary(max_size=200).map(lambda data: "".join(PIECES[byte % len(PIECES)] for byte in data)))
def test_pieces_of_logs_in_any_order_are_read(text: str) -> None:
    assert isinstance(diagnose(text), list)
