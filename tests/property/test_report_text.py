"""Whatever a reason, a log or a figure holds, a document renders, keeps its tables, and shows the text as it was."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from msgspec import structs

from env.language import LANGUAGES
from tests.verify.page import Page
from verify.report.campaign import FAULTS_FILE, Campaign, CleanOutcome, FaultOutcome, Project, count, parse
from verify.report.html import render_html
from verify.report.markdown import block, cell, code, tail
from verify.report.render import DOCUMENTS as KINDS
from verify.report.render import render
from verify.run.records import Evidence, Record, Status, read_evidence
from verify.run.text import one_line
from verify.run.verdict import judge

DATA = Path(__file__).resolve().parents[1] / "data" / "report"
HEALTHY = read_evidence(DATA / "cpu-stand-in")
FAULTS = (DATA / "emulated-faults" / FAULTS_FILE).read_text(encoding="utf-8")
CAMPAIGN = parse(FAULTS)
ELEMENTS = set(Page(render_html(HEALTHY)).tags) | {"figure", "figcaption", "svg", "desc", "details", "summary", "text"}
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")  # what a terminal or a reader's eye obeys
MARKDOWN = MarkdownIt("commonmark").enable("table")

# Rendering takes milliseconds here and more on a busy machine: no deadline, and fewer examples than the default.
whole_documents = settings(deadline=None, max_examples=40)

hostile = st.text(
    st.one_of(st.sampled_from("|`\\*_<>[]()~$&#-+=!.:1\n\r\t\x0b\x1b\u2028\u202e\ud800 "), st.characters())
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | hostile
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile, inner, max_size=4)
)
DOCUMENTS = list(itertools.product(LANGUAGES, KINDS))
checks = st.sampled_from(sorted(HEALTHY.records))


def plain(token: Token) -> str:
    """An inline token as a reader sees it."""
    return "".join(child.content for child in token.children or [] if child.type in ("text", "code_inline"))


def cells(document: str) -> list[str]:
    tokens = MARKDOWN.parse(document)
    return [plain(tokens[i + 1]) for i, token in enumerate(tokens) if token.type in ("td_open", "th_open")]


def tables(document: str) -> list[int]:
    """How many rows each table has."""
    rows: list[int] = []
    for token in MARKDOWN.parse(document):
        if token.type == "table_open":
            rows.append(0)
        elif token.type == "tr_open":
            rows[-1] += 1
    return rows


def with_record(check: str, **changes: Any) -> Evidence:
    return replace(HEALTHY, records={**HEALTHY.records, check: replace(HEALTHY.records[check], **changes)})


@given(hostile)
def test_a_cell_shows_exactly_its_text(text: str) -> None:
    document = f"| a | b |\n| --- | --- |\n| x{cell(text)}x | c |\n"
    assert cells(document) == ["a", "b", f"x{one_line(text)}x".strip(), "c"]


@given(hostile)
def test_inline_code_shows_exactly_its_text_and_keeps_its_cell(text: str) -> None:
    assert cells(f"| a | b |\n| --- | --- |\n| {code(text)} | c |\n") == ["a", "b", one_line(text), "c"]


@given(st.lists(hostile))
def test_a_block_ends_where_it_should(lines: list[str]) -> None:
    tokens = MARKDOWN.parse(block(tail(lines), "text") + "\n\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.splitlines() == tail(lines)


@pytest.mark.slow
@whole_documents
@given(checks, st.sampled_from(list(Status)), hostile, st.lists(hostile), st.sampled_from(LANGUAGES))
def test_no_reason_or_log_breaks_a_table(
    check: str, status: Status, reason: str, log: list[str], language: Any
) -> None:
    plain_reason = with_record(check, status=status, reason="why" if reason.split() else "", log=("line",))
    hostile_reason = with_record(check, status=status, reason=reason, log=tuple(log))
    for kind in KINDS:
        calm = render(plain_reason, language, document=kind)
        assert tables(render(hostile_reason, language, document=kind)) == tables(calm)
    page = render_html(hostile_reason)
    assert Page(page).elements == Page(render_html(plain_reason)).elements
    assert not UNSHOWN.search(page)


@whole_documents
@given(checks, st.dictionaries(hostile, anything, max_size=4), st.dictionaries(hostile, anything, max_size=4))
def test_no_data_or_signature_stops_a_document(check: str, data: dict[str, Any], signature: dict[str, Any]) -> None:
    for language, document in DOCUMENTS:
        render(with_record(check, data=data, signature=signature), language, document=document).encode()
    assert set(Page(render_html(with_record(check, data=data, signature=signature))).tags) <= ELEMENTS


@st.composite
def mutated(draw: st.DrawFn) -> Evidence:
    """The healthy run with one value somewhere in one record's data replaced by anything."""
    check = draw(checks)
    data = json.loads(json.dumps(HEALTHY.records[check].data))
    place = data
    while place:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
            place[key] = draw(anything)
            break
        place = inner
    return with_record(check, data=data)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(mutated())
def test_no_mutated_figure_stops_a_document(evidence: Evidence) -> None:
    for language, document in DOCUMENTS:
        render(evidence, language, document=document).encode()
    page = render_html(evidence)
    assert set(Page(page).tags) <= ELEMENTS
    assert not UNSHOWN.search(page)
    assert len(page.encode()) < 2 * 2**20


@pytest.mark.parametrize("row", [{}, {"name": None}, {"formula": 3, "passed": "yes"}])
def test_an_equation_without_its_figures_stops_no_document(row: dict[str, Any]) -> None:
    data = json.loads(json.dumps(HEALTHY.records["definition"].data))
    data["equations"] = [row, *data["equations"]]
    document = render(with_record("definition", data=data), "en", document="evidence")
    assert "| not recorded |" in document


def test_a_name_that_is_hostile_reaches_no_plot() -> None:
    """The keys of a record are names of components, series and languages: labels of plots and heads of tables."""
    soak = HEALTHY.records["benchmark"]
    hostile_name = "\x1b[2J\u202egnp.<script>"
    series = {"at_s": [0.0, 1.0, 2.0], "time_s": [1.0, 2.0, 1.5], hostile_name: [1.0, 2.0, 3.0]}
    times = {**soak.data["components"], hostile_name: next(iter(soak.data["components"].values()))}
    speech = HEALTHY.records["speech"].data
    words = {**speech["transcription"], hostile_name: next(iter(speech["transcription"].values()))}
    records = {
        **HEALTHY.records,
        "benchmark": replace(soak, data={**soak.data, "components": times}),
        "speech": replace(HEALTHY.records["speech"], data={**speech, "transcription": words}),
        "soak": replace(soak, check="soak", data={"series": series}),
    }
    page = render_html(replace(HEALTHY, records=records))
    assert not UNSHOWN.search(page)
    assert page.count("gnp.&lt;script&gt;") >= 3


@pytest.mark.parametrize("text", ["x" * 10_000_000, "<b>" * 3_000_000, "\u202e" * 10_000_000, "`|" * 5_000_000])
def test_megabytes_in_one_value_do_not_become_a_document(text: str) -> None:
    data = json.loads(json.dumps(HEALTHY.records["speech"].data))
    data["transcripts"][0]["hypothesis"] = text
    evidence = with_record("speech", data=data, reason=text)
    for language, document in DOCUMENTS:
        assert len(render(evidence, language, document=document)) < 400_000
    assert len(render_html(evidence)) < 400_000


@whole_documents
@given(anything, anything)
def test_no_setup_stops_a_document(data: Any, status: Any) -> None:
    evidence = replace(HEALTHY, setup={"schema": 1, "status": status, "reason": status, "data": data})
    for language, document in DOCUMENTS:
        render(evidence, language, document=document).encode()


@given(st.dictionaries(checks, st.sampled_from(list(Status))))
def test_verified_is_never_said_of_a_run_with_a_check_that_did_not_pass(statuses: dict[str, Status]) -> None:
    records: dict[str, Record] = {
        name: replace(record, status=statuses.get(name, record.status)) for name, record in HEALTHY.records.items()
    }
    verdict = judge(replace(HEALTHY, records=records))
    worse = {record.status for record in records.values()} - {Status.PASS, Status.SKIP}
    assert (verdict.exit_code == 0) <= (not worse)
    assert verdict.headline() != "verified"  # the weights are a stand-in


def renamed(campaign: Campaign, text: str) -> Campaign:
    """The campaign with `text` wherever a fault or a run without one holds text of its own."""

    def texts(row: FaultOutcome | CleanOutcome) -> dict[str, str]:
        values = structs.asdict(row).items()
        return {name: text for name, value in values if isinstance(value, str) and value and name not in ("on", "sort")}

    faults = tuple(structs.replace(fault, **texts(fault)) for fault in campaign.faults)
    clean = tuple(structs.replace(run, **texts(run), alarms=(text,) * len(run.alarms)) for run in campaign.clean)
    project, versions = Project(text, text), {**campaign.versions, text: text}
    named = structs.replace(campaign, project=project, versions=versions, started=text, sources_sha256=text)
    return structs.replace(named, faults=faults, clean=clean, summary=count(faults, clean))


@pytest.mark.slow
@whole_documents
@given(hostile.filter(str.split), st.sampled_from(LANGUAGES))
def test_no_name_or_reason_of_a_campaign_breaks_a_table(text: str, language: Any) -> None:
    calm = render(HEALTHY, language, renamed(CAMPAIGN, "word"))
    document = render(HEALTHY, language, renamed(CAMPAIGN, text))
    assert tables(document) == tables(calm)
    heads = [token.tag for token in MARKDOWN.parse(document) if token.type == "heading_open"]
    assert heads == [token.tag for token in MARKDOWN.parse(calm) if token.type == "heading_open"]
    assert one_line(text) in cells(document)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_mutated_campaign_is_refused_or_shown(data: st.DataObject) -> None:
    place = whole = json.loads(FAULTS)
    while place:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(anything)
            break
        place = inner
    try:
        campaign = parse(json.dumps(whole))
    except ValueError:
        return
    for language in LANGUAGES:
        render(HEALTHY, language, campaign).encode()
