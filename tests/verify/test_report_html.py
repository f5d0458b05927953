"""report.html: one file that needs nothing else, read by eye, by a screen reader and on paper."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.verify.page import Page
from tests.verify.report_runs import DATA, RUNS, data_of, evidence_of, with_record
from verify.report.campaign import attached
from verify.report.html import render_html
from verify.report.plots import course, intervals, latencies, shares, stack
from verify.report.render import TEMPLATES
from verify.report.scales import Axis, axis
from verify.run.records import Evidence

STACK = {
    "names": ["encoder.input_linear", "encoder.layers.0.attn", "projector", "language_model.model.layers.0.mlp"],
    "rel_l2": [1e-3, 2e-3, 9e-3, None],
    "expected": [2e-3, 4e-3, 6e-3, 6e-3],
    "excess": [0.5, 0.5, 1.5, None],
}


def full() -> Evidence:
    """A run with every plot."""
    layers = dict(data_of("npu-verified", "layers"))
    for mode in ("isolated", "end_to_end"):
        layers[mode] = {**layers[mode], "stack": STACK}
    evidence = with_record("npu-verified", "layers", data=layers)
    soak = dict(data_of("npu-soak-failed", "soak"))
    soak["series"] = {
        "at_s": [60.0, 120.0, 180.0],
        "time_s": [0.42, 0.43, 0.44],
        "longest_s": [0.5, 0.6, 1.9],
        "memory_bytes": [4.8e9, 4.8e9, 4.8e9],
    }
    course = [(5.0, 41.0, 1000.0, 180.0), (60.0, 52.0, 1000.0, 240.0), (120.0, 55.0, 850.0, None)]
    soak["card"] = {
        "samples": [{"at_s": at, "temp_c": temp, "mhz": mhz, "power_w": power} for at, temp, mhz, power in course]
    }
    record = replace(evidence_of("npu-soak-failed").records["soak"], data=soak)
    return replace(evidence, records={**evidence.records, "soak": record})


def pages() -> Iterator[Any]:
    for run in RUNS:
        yield pytest.param(render_html(evidence_of(run), attached(DATA / run)), id=run)
    yield pytest.param(render_html(full()), id="every plot")


PAGES = list(pages())


@pytest.mark.parametrize("text", PAGES)
def test_a_page_has_one_main_part_in_two_languages_and_a_switch_without_a_script(text: str) -> None:
    page = Page(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="zh">')
    assert page.named("meta")[0] == {"charset": "utf-8"}
    assert (page.tags.count("main"), page.tags.count("title") - page.tags.count("svg")) == (1, 1)
    assert [one["lang"] for one in page.named("div") if one.get("class") == "page"] == ["zh", "en"]
    assert [one["id"] for one in page.named("input")] == ["zh", "en"]
    assert [one["for"] for one in page.named("label")] == ["zh", "en"]
    assert page.tags.count("h1") == 2
    assert "script" not in page.tags


@pytest.mark.parametrize("text", PAGES)
def test_a_page_asks_nothing_of_any_host(text: str) -> None:
    page = Page(text)
    policy = next(one["content"] for one in page.named("meta") if "http-equiv" in one)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    names = {name for _, attributes in page.elements for name in attributes}
    assert not names & {"src", "srcset", "action", "style", "data", "xlink:href"}
    assert not [name for name in names if name.startswith("on")]
    assert {one.get("href") for one in page.named("a")} == {"#content"}
    assert not re.search(r"url\(|@import", text)
    assert len(text.encode()) < 2 * 2**20


@pytest.mark.parametrize("text", PAGES)
def test_every_table_has_a_caption_and_heads_with_a_scope(text: str) -> None:
    page = Page(text)
    assert page.tags.count("caption") == page.tags.count("table") > 0
    assert {one["scope"] for one in page.named("th")} == {"col", "row"}


@pytest.mark.parametrize("text", PAGES)
def test_every_plot_has_a_title_a_description_and_a_table_that_says_the_same(text: str) -> None:
    page = Page(text)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for plot in page.named("svg"):
        assert plot["role"] == "img"
        assert set(str(plot["aria-labelledby"]).split()) <= set(identifiers)
    figures = text.split("<figure>")[1:]
    assert len(figures) == page.tags.count("svg")
    for figure in figures:
        inner = figure.partition("</figure>")[0]
        assert inner.count("<details>") == inner.count("<table>") == inner.count("<figcaption>") == 1
    assert not re.search(r"\d\.\d{5,}", " ".join(one["d"] or "" for one in page.named("path")))


def test_a_run_with_everything_has_every_plot_in_both_languages() -> None:
    text = render_html(full())
    titles = re.findall(r'<title id="(zh|en)-([\w-]+)-t">', text)
    names = ["layers", "deep-layers", "wer", "latency", "share", *(f"soak-{n}" for n in range(1, 6))]
    assert titles == [*(("zh", name) for name in names), *(("en", name) for name in names)]
    assert "closest to its limit, is projector" in text
    assert text.count("Soak: temperature, °C") > 0


def test_a_run_without_figures_has_no_plot_and_says_so() -> None:
    text = render_html(evidence_of("setup-failed"))
    assert "<svg" not in text
    assert "not recorded" in text


def relative_luminance(colour: str) -> float:
    """As WCAG 2.2 defines it, of "#rrggbb"."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((relative_luminance(one), relative_luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_stands_out_from_every_ground(scheme: int) -> None:
    """WCAG 2.2, success criterion 1.4.3 (AA): at least 4.5 to 1."""
    style = (TEMPLATES / "html" / "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]))
    for text, ground in itertools.product(("text", "quiet", "steady", "alert", "mark"), ("ground", "soft")):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["steady"], colours["ground"]) != contrast(colours["line"], colours["ground"])


# Scales


@pytest.mark.parametrize(
    ("scale", "labels"),
    [
        (Axis(0.0, 30.0, 0.0, 100.0), ["0", "5", "10", "15", "20", "25", "30"]),
        (Axis(0.0, 1.0, 0.0, 100.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (Axis(0.3, 400.0, 0.0, 100.0, log=True), ["1", "10", "100"]),
        (Axis(4.0, 60.0, 0.0, 100.0, log=True), ["5", "10", "20", "50"]),
        (Axis(1e-8, 1e3, 0.0, 100.0, log=True), ["1e-8", "1e-6", "0.0001", "0.01", "1", "100"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(scale: Axis, labels: list[str]) -> None:
    assert [text for _, text in scale.ticks] == labels
    assert all(scale.start <= place <= scale.end for place, _ in scale.ticks)


def test_places_follow_the_values() -> None:
    linear, log = Axis(0.0, 10.0, 50.0, 150.0), Axis(1.0, 100.0, 0.0, 200.0, log=True)
    assert [linear(v) for v in (0.0, 5.0, 10.0, 99.0, -1.0)] == [50.0, 100.0, 150.0, 150.0, 50.0]
    assert [log(v) for v in (1.0, 10.0, 100.0)] == [0.0, 100.0, 200.0]


@pytest.mark.parametrize("values", [[], [None], [float("nan")], [True], ["12"], [10**400], [float("inf")]])
def test_what_is_no_number_has_no_axis(values: list[object]) -> None:
    assert axis(values, 0.0, 1.0) is None


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-200, 1e200])
def test_one_value_alone_has_an_axis(value: float) -> None:
    scale = axis([value], 0.0, 100.0)
    assert scale is not None
    assert scale.low < value < scale.high
    assert scale.ticks


def test_marks_stand_where_the_samples_are() -> None:
    plot = latencies([("encoder", {"samples_ms": [10.0, 20.0], "cold_ms": 100.0, "warm_ms": [12.0], "floor_ms": 5.0})])
    assert plot is not None
    paths = {mark.kind: mark.path for mark in plot.marks}
    assert [paths[kind].count("M") for kind in ("dot", "warm", "floor", "middle")] == [2, 1, 1, 1]
    assert paths["dot"].startswith(f"M{plot.across(10.0):g} ")
    assert [label.text for label in plot.labels] == ["encoder"]


def test_the_point_furthest_beyond_its_limit_is_the_worst() -> None:
    by_share, by_error = stack(STACK, "excess", None), stack(STACK, "rel_l2", "expected")
    assert by_share is not None
    assert by_error is not None
    assert (by_share.worst, by_error.worst) == ("projector", "projector")
    assert next(mark.path for mark in by_share.marks if mark.kind == "cold").count("M") == 1


@pytest.mark.parametrize(
    "data", [None, {}, {**STACK, "names": []}, {**STACK, "excess": [None] * 4}, {**STACK, "excess": "1.0"}]
)
def test_a_stack_that_does_not_fit_has_no_plot(data: object) -> None:
    assert stack(data, "excess", None) is None


def test_plots_of_nothing_are_none() -> None:
    assert latencies([]) is None
    assert intervals([]) is None
    assert shares([("encoder", {"mean_ms": None})]) is None
    assert course(None, None) is None
