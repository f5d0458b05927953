"""The job summary of GitHub's runners, and every figure of a run as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from env.language import Language, _, translate
from verify.report.export.run import Exported
from verify.report.facts import figures
from verify.report.markdown import clipped
from verify.report.render import render
from verify.run.text import one_line

SUMMARY_BYTES = 900_000  # GitHub refuses a step's summary above 1024 KiB, whole
COLUMNS = ("run", "check", "status", "figure", "value", "device", "dtype", "signature_n")
FORMULA = "=+-@"  # a cell that begins with one of these is a formula to a spreadsheet


def summary(run: Exported, language: Language = "en", most: int = SUMMARY_BYTES) -> str:
    """The adaptation document as a job's summary: without links to files that the page has not, and never too long."""
    whole = re.sub(r"\[([^\[\]]*)\]\(evidence\.[^()]*\)", r"\1", render(run.evidence, language, document="report"))
    if len(whole.encode()) <= most:
        return whole
    note = "\n" + translate(_("(cut here: the whole is in the run's folder)"), language) + "\n"
    left = most - len(note.encode())
    kept: list[str] = []
    for line in whole.splitlines(keepends=True):
        left -= len(line.encode())
        if left < 0:
            break
        kept.append(line)
    return "".join(kept) + note


def table(run: Exported) -> str:
    """Every scalar of every record as CSV: a row a figure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(run))
    return out.getvalue()


def _rows(run: Exported) -> Iterator[list[object]]:
    for judged in run.verdict.checks:
        record = run.facts.record(judged.check)
        listed = list(figures(record.data)) if record else []
        signature = record.signature if record else {}
        conditions = [_cell(signature.get(name)) for name in ("device", "dtype", "n")]
        for name, value in listed or [("", None)]:
            yield [_cell(run.name), _cell(judged.check), judged.status.value, _cell(name), _cell(value), *conditions]


def _cell(value: object) -> object:
    """A number as it is, anything else as text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return value
    text = one_line(clipped(str(value)))
    return f"'{text}" if text[:1] in tuple(FORMULA) else text
