"""The audit's answer as a page, as JSON for programs, and as JUnit XML for any CI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from env.audit import Finding, Judgement, counted, sort

if TYPE_CHECKING:
    from env.audit.question import Suggestion

SCHEMA = 1
MARKS = {"error": "ERROR", "warning": "WARN ", "note": "NOTE "}


def page(title: str, judgements: Sequence[Judgement]) -> Iterator[str]:
    """Every finding with its reason and its two commands; then one line that counts."""
    findings = findings_of(judgements)
    yield title
    for finding in findings:
        yield ""
        yield f"{MARKS[finding.severity]} {finding.what}  [{finding.id}]"
        yield f"      why:    {finding.why}"
        yield f"      show:   {finding.show}"
        yield f"      fix:    {finding.fix}"
        yield f"      source: {finding.source}"
    yield ""
    yield tally(judgements)


def tally(judgements: Sequence[Judgement]) -> str:
    agreed = sum(not said.findings and said.skipped is None for said in judgements)
    skipped = sum(said.skipped is not None for said in judgements)
    counts = counted(findings_of(judgements))
    return f"{counts}; {agreed} rules found nothing, {skipped} had nothing to judge"


def findings_of(judgements: Sequence[Judgement]) -> list[Finding]:
    return sort(finding for said in judgements for finding in said.findings)


def as_json(
    subject: Mapping[str, Any], judgements: Sequence[Judgement], suggestions: Sequence[Suggestion] | None
) -> Any:
    """What `--json` prints: the subject (a host's or a question's facts), the findings, and what was not judged."""
    value: dict[str, Any] = {
        "schema": SCHEMA,
        **subject,
        "findings": [asdict(finding) for finding in findings_of(judgements)],
        "passed": [said.rule for said in judgements if not said.findings and said.skipped is None],
        "skipped": {said.rule: said.skipped for said in judgements if said.skipped is not None},
    }
    if suggestions is not None:
        value["suggestions"] = [asdict(each) for each in suggestions]
    return value


def suggestions_page(suggestions: Sequence[Suggestion]) -> Iterator[str]:
    yield ""
    if not suggestions:
        yield "no listed pairing comes near"
        return
    yield "nearest pairings:"
    for each in suggestions:
        shown = ", ".join(f"{name} {version}" for name, version in each.stack.items() if name not in ("arch", "chip"))
        change = f"change {', '.join(each.changes)}" if each.changes else "nothing to change"
        public = "" if each.published else "; this torch-npu is not on PyPI"
        yield f"  {shown}"
        yield f"      {change}; evidence {each.confidence}: {each.source}{public}"


def junit(name: str, judgements: Sequence[Judgement]) -> str:
    """JUnit XML: a test case for each rule. Errors fail it; warnings and notes are its output."""
    from xml.etree import ElementTree  # not needed for the other formats

    suite = ElementTree.Element("testsuite", name=name)
    failed = skipped = 0
    for said in judgements:
        case = ElementTree.SubElement(suite, "testcase", classname="env.audit", name=said.rule, time="0")
        errors = [finding for finding in said.findings if finding.severity == "error"]
        if said.skipped is not None:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=_xml(said.skipped))
        elif errors:
            failed += 1
            failure = ElementTree.SubElement(case, "failure", type="error", message=_xml(errors[0].what))
            failure.text = "\n\n".join(_block(finding) for finding in errors)
        others = [finding for finding in said.findings if finding.severity != "error"]
        if others:
            ElementTree.SubElement(case, "system-out").text = "\n\n".join(_block(finding) for finding in others)
    suite.attrib.update(tests=str(len(judgements)), failures=str(failed), errors="0", skipped=str(skipped), time="0")
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _block(finding: Finding) -> str:
    lines = (f"{name}: {value}" for name, value in asdict(finding).items())
    return _xml("\n".join(lines))


def _xml(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(character if character >= " " or character in "\n\t" else "?" for character in text)
