"""The made-up runs of tests/data/report, and what tests take out of their documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from env.language import Language
from verify.report.campaign import attached
from verify.report.render import render
from verify.run.records import Evidence, read_evidence

DATA = Path(__file__).resolve().parents[1] / "data" / "report"
RUNS = sorted(path.name for path in DATA.iterdir() if path.is_dir())


def evidence_of(run: str) -> Evidence:
    return read_evidence(DATA / run)


def document(run: str, language: Language, kind: str = "evidence") -> str:
    """A run's document, with the appendix where a fault campaign stands beside its records."""
    return render(evidence_of(run), language, attached(DATA / run), document=kind)


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    _, _, after = text.partition(f"\n{heading}\n")
    assert after, f"no heading {heading!r}"
    lines: list[str] = []
    fenced = False
    for line in after.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            break
        if not line.startswith("<a id="):
            lines.append(line)
    return "\n".join(lines).strip() + "\n"


def row(text: str, start: str) -> str:
    """The one row of the document's tables that starts with these cells."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    assert len(rows) == 1, rows
    return rows[0]


def with_record(run: str, check: str, **changes: Any) -> Evidence:
    evidence = evidence_of(run)
    return replace(evidence, records={**evidence.records, check: replace(evidence.records[check], **changes)})


def data_of(run: str, check: str) -> Mapping[str, Any]:
    return evidence_of(run).records[check].data
