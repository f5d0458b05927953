"""JUnit XML: one testcase a check, for the pages of a CI.

As GitLab, Jenkins and GitHub's readers take it: `classname` is what GitLab shows as the suite, names are unique, times
are seconds, and a check that never ran is an error, for there is no word for it and a missing case reads as a pass.
"""

from __future__ import annotations

from xml.etree import ElementTree

from verify.report.export.run import Exported
from verify.report.facts import figures
from verify.report.markdown import clipped
from verify.run.records import Status
from verify.run.text import one_line

PROPERTIES = 60  # figures of a check that are written
OUTCOMES = {
    Status.FAIL: ("failure", "fail"),
    Status.ERROR: ("error", "error"),
    Status.NOT_RUN: ("error", "not-run"),
    Status.SKIP: ("skipped", None),
}


def text(run: Exported) -> str:
    """The XML of a run; the same records give the same text."""
    verdict = run.verdict
    suite = ElementTree.Element("testsuite", name=_safe(f"granite_speech {run.name}"), tests=str(len(verdict.checks)))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    seconds = 0.0
    group = f"granite_speech.{_safe(run.facts.device).replace(':', '')}.level{verdict.level or 0}"
    _properties(suite, [("verdict", verdict.line()), *((f"sha256.{n}", d) for n, d in run.digests.items())])
    for judged in verdict.checks:
        record = run.facts.record(judged.check)
        taken = record.seconds if record else 0.0
        seconds += taken
        case = ElementTree.SubElement(suite, "testcase", classname=group, name=_safe(judged.check), time=f"{taken:.3f}")
        if record:
            listed: list[tuple[str, object]] = [
                (name, value) for name, value in figures(record.data) if isinstance(value, (int, float, str))
            ]
            _properties(case, listed[:PROPERTIES])
        if judged.status in OUTCOMES:
            tag, kind = OUTCOMES[judged.status]
            counts[tag] += 1
            outcome = ElementTree.SubElement(case, tag, message=_safe(judged.reason or judged.status.value))
            if kind:
                outcome.set("type", kind)
                rerun = record.rerun if record else (run.evidence.run.command if run.evidence.run else "nox -s verify")
                outcome.text = "\n".join(
                    [_safe(judged.reason), _safe(rerun), *map(_safe, record.log if record else ())]
                )
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    suite.set("time", f"{seconds:.3f}")
    if run.started:
        suite.set("timestamp", run.started.replace("+00:00", "").removesuffix("Z"))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _properties(parent: ElementTree.Element, pairs: list[tuple[str, object]]) -> None:
    if pairs:
        inner = ElementTree.SubElement(parent, "properties")
        for name, value in pairs:
            ElementTree.SubElement(inner, "property", name=_safe(name), value=_safe(value))


def _safe(value: object) -> str:
    """Text that XML can hold: printable, on one line, of a length that is read."""
    return one_line(clipped(str(value)))
