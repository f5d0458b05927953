"""Whatever a record holds, no format that others read takes it for more than text."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given, settings

from tests.property.test_report_text import DATA, hostile
from tests.verify.page import Page
from verify.report.compare import context_of
from verify.report.comparison import Comparison, Side
from verify.report.export import attestation, hub, junit, text
from verify.report.export.run import Exported
from verify.report.html import page_of
from verify.report.render import rendered
from verify.run.records import Status, read_evidence

VERIFIED = read_evidence(DATA / "npu-verified")
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def with_text(value: str) -> Exported:
    """The verified run with a text in a reason, a log, a transcript, a name of a figure and a version."""
    records = dict(VERIFIED.records)
    speech, load = records["speech"], records["load"]
    data = json.loads(json.dumps(speech.data))
    data["transcripts"][0]["hypothesis"] = value
    records["speech"] = replace(speech, data=data, reason=value, log=(value,))
    records["load"] = replace(load, data={**load.data, value: value}, status=Status.PASS)
    packages = json.loads(json.dumps(records["packages"].data))
    packages["rows"][0]["found"] = value
    records["packages"] = replace(records["packages"], data=packages)
    assert VERIFIED.run is not None
    about = replace(VERIFIED.run, run_id=value or "run", model_dir=value, command=value or "nox")
    return Exported(Path(DATA / "npu-verified"), replace(VERIFIED, run=about, records=records))


@settings(deadline=None, max_examples=15)
@given(hostile)
def test_no_text_becomes_markup_of_any_format(value: str) -> None:
    run = with_text(value)
    xml = junit.text(run)
    (suite,) = ElementTree.fromstring(xml)
    assert len(suite.findall("testcase")) == len(run.verdict.checks)
    table = text.table(run)
    assert {len(row) for row in csv.reader(io.StringIO(table))} == {len(text.COLUMNS)}
    card = hub.card(run)
    assert card.count("\n---\n") == 1  # the front matter ends once
    index = json.dumps(hub.model_index(run))
    statement = json.loads(attestation.text(run))
    assert statement["predicate"]["result"] == "PASSED"
    for made in (xml, table, card, index, text.summary(run)):
        assert not UNSHOWN.search(made)


@settings(deadline=None, max_examples=15)
@given(hostile)
def test_no_text_becomes_markup_of_a_comparison(value: str) -> None:
    sides = [Side([(value, with_text(name).evidence)]) for name in (value, "word")]
    calm = [Side([("run", with_text(name).evidence)]) for name in ("words", "word")]
    pages = []
    for first, second in (sides, calm):
        context = context_of(Comparison(first, second, {}))
        pages.append(Page(page_of("html/compare.html.j2", context, headline="A / B")))
        assert not UNSHOWN.search(rendered("compare.md.j2", "zh", context))
    assert set(pages[0].tags) <= set(pages[1].tags)
