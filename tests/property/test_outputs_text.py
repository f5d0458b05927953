"""Outputs that hold several runs: whatever their records hold, it is text in its own cell, and no megabytes of it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from env.language import LANGUAGES
from tests.property.test_export_text import UNSHOWN, with_text
from tests.property.test_report_text import hostile, tables
from tests.verify.page import Page
from verify.report import cards, compare, stacks
from verify.report.comparison import Comparison, Side
from verify.report.export import attestation, hub, junit, text
from verify.report.facts import Facts
from verify.report.html import page_of
from verify.report.render import rendered
from verify.run.cards import Cards, Links
from verify.run.records import Evidence, Status
from verify.run.verdict import judge

LABELS = ("npu:0", "npu:1")
CARDS = Cards(started="", device="npu:all", cards=dict.fromkeys(LABELS, "npu-0"), command="nox -s verify")
LONGEST = 1_000_000
LONGEST_CELL = 30_000  # a character that is spelled out is six; a table of figures has the verdict in every row


def evidence_with(value: str) -> Evidence:
    """The verified run with a text wherever a record has one that these outputs show."""
    evidence = with_text(value).evidence
    setup = json.loads(json.dumps(evidence.setup or {}))
    setup.setdefault("data", {})["stack"] = value
    setup["data"]["packages"] = {**setup["data"].get("packages", {}), "torch": value}
    device = evidence.records["device"]
    records = {
        **evidence.records,
        "device": replace(device, data={**device.data, "name": value}),
        "load": replace(evidence.records["load"], status=Status.FAIL, reason=value),
    }
    return replace(evidence, setup=setup, records=records)


def card_document(value: str, language: Any) -> str:
    judged = [(label, judge(evidence)) for label in LABELS if (evidence := evidence_with(value))]
    rows = [cards.Row(label, "npu-0", one, Facts(evidence_with(value), one), None) for label, one in judged]
    links = Links(backend=value, cards=list(LABELS), rows=[], problem=value)
    fields = {"cards": CARDS, "rows": rows, "line": value, "links": links}
    return rendered("cards.md.j2", language, fields)


def stack_lines(*values: str) -> list[str]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        stacks.show(list(stacks.table([evidence_with(value) for value in values])))
    return output.getvalue().splitlines()


@settings(deadline=None, max_examples=15)
@given(hostile)
def test_no_text_breaks_the_comparison_of_cards_or_of_stacks(value: str) -> None:
    for language in LANGUAGES:
        document = card_document(value, language)
        assert tables(document) == tables(card_document("word", language))
        assert not UNSHOWN.search(document)
    lines = stack_lines(value, "word")
    assert len(lines) - len(stack_lines("other", "word")) in (-1, 0)  # an equal version is no row
    assert not UNSHOWN.search("".join(lines))


@pytest.mark.parametrize("value", ["x" * 10_000_000, "<b>" * 3_000_000, "\u202e" * 10_000_000, "`|" * 5_000_000])
def test_megabytes_in_one_value_become_no_output(value: str) -> None:
    run = with_text(value)
    made = [junit.text(run), text.table(run), text.summary(run), hub.card(run), attestation.text(run)]
    context = compare.context_of(Comparison(Side([(value, run.evidence)]), Side([("b", run.evidence)]), {}))
    made += [rendered("compare.md.j2", "zh", context), page_of("html/compare.html.j2", context, headline="A / B")]
    made += ["\n".join(compare.lines(context["comparison"]))]
    made += [card_document(value, "en"), "\n".join(stack_lines(value, "word"))]
    assert [len(one) for place, one in enumerate(made) if len(one) > LONGEST and place != 1] == []
    assert max(len(cell) for row in csv.reader(io.StringIO(made[1])) for cell in row) <= LONGEST_CELL
    assert Page(made[6]).tags.count("main") == 1
