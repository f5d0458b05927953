"""The audit's answer as a page, as JSON for programs, and as JUnit XML for any CI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from env.audit import Finding, Judgement, counted, sort
from env.language import Message, _

if TYPE_CHECKING:
    from env.audit.suggest import Suggestion

SCHEMA = 1


def page(title: str, judgements: Sequence[Judgement], remarks: Sequence[str] = ()) -> Iterator[str]:
    """Every finding with its reason and its two commands; then one line that counts. Lines are messages."""
    yield title
    yield from remarks
    for finding in findings_of(judgements):
        yield ""
        yield _headed(finding)
        yield _("      why:    {why}", why=finding.why)
        yield _("      show:   {show}", show=finding.show)
        yield _("      fix:    {fix}", fix=finding.fix)
        yield _("      source: {source}", source=Message(finding.source))
    yield ""
    yield tally(judgements)


def _headed(finding: Finding) -> Message:
    if finding.severity == "error":
        return _("ERROR {what}  [{rule}]", what=finding.what, rule=finding.id)
    if finding.severity == "warning":
        return _("WARN  {what}  [{rule}]", what=finding.what, rule=finding.id)
    return _("NOTE  {what}  [{rule}]", what=finding.what, rule=finding.id)


def tally(judgements: Sequence[Judgement]) -> Message:
    """How many findings of each kind there are, and how many rules had none or nothing to judge."""
    return _(
        "{counts}; {agreed} rules found nothing, {skipped} had nothing to judge",
        counts=counted(findings_of(judgements)),
        agreed=sum(not judgement.findings and judgement.skipped is None for judgement in judgements),
        skipped=sum(judgement.skipped is not None for judgement in judgements),
    )


def findings_of(judgements: Sequence[Judgement]) -> list[Finding]:
    return sort(finding for judgement in judgements for finding in judgement.findings)


def as_json(
    subject: Mapping[str, Any], judgements: Sequence[Judgement], suggestions: Sequence[Suggestion] | None
) -> Any:
    """What `--json` prints: the subject (a host's or a question's facts), the findings, and what was not judged."""
    value: dict[str, Any] = {
        "schema": SCHEMA,
        **subject,
        "findings": [asdict(finding) for finding in findings_of(judgements)],
        "passed": [each.rule for each in judgements if not each.findings and each.skipped is None],
        "skipped": {each.rule: each.skipped for each in judgements if each.skipped is not None},
    }
    if suggestions is not None:
        value["suggestions"] = [asdict(each) for each in suggestions]
    return value


def suggestions_page(suggestions: Sequence[Suggestion]) -> Iterator[str]:
    """The pairings with what they change and on what evidence. Lines are messages."""
    yield ""
    if not suggestions:
        yield _("no listed pairing comes near")
        return
    yield _("nearest pairings:")
    for each in suggestions:
        shown = ", ".join(f"{name} {version}" for name, version in each.stack.items() if name not in ("arch", "chip"))
        yield _("  {stack}", stack=shown)
        change = _("change {names}", names=", ".join(each.changes)) if each.changes else _("nothing to change")
        fields = {"change": change, "confidence": Message(each.confidence), "source": each.source}
        if each.published:
            yield _("      {change}; evidence {confidence}: {source}", **fields)
        else:
            yield _("      {change}; evidence {confidence}: {source}; this torch-npu is not on PyPI", **fields)


def junit(name: str, judgements: Sequence[Judgement]) -> str:
    """JUnit XML: a test case for each rule. Errors fail it; warnings and notes are its output."""
    from xml.etree import ElementTree  # not needed for the other formats

    suite = ElementTree.Element("testsuite", name=name)
    failed = skipped = 0
    for judgement in judgements:
        case = ElementTree.SubElement(suite, "testcase", classname="env.audit", name=judgement.rule, time="0")
        errors = [finding for finding in judgement.findings if finding.severity == "error"]
        if judgement.skipped is not None:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=_xml(judgement.skipped))
        elif errors:
            failed += 1
            failure = ElementTree.SubElement(case, "failure", type="error", message=_xml(errors[0].what))
            failure.text = "\n\n".join(_block(finding) for finding in errors)
        others = [finding for finding in judgement.findings if finding.severity != "error"]
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
