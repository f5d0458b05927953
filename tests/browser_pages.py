"""The pages in a real browser: `nox -s page`. No part of the suite, which runs where there is none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, installed
from tests.verify.report_runs import RUNS, evidence_of
from tests.verify.test_compare import planted
from tests.verify.test_report_html import full
from verify.report import compare
from verify.report.html import render_html

WIDTHS, SCHEMES, LANGUAGES = (360, 1280), ("light", "dark"), ("zh", "en")
# Every element with text of its own whose contrast with the nearest ground is below 4.5, as WCAG 2.2 has it.
FAINT = """(() => {
  const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = c => [0, 1, 2].map(i => c[i] / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = node => { for (; node; node = node.parentElement) {
    const c = parts(getComputedStyle(node).backgroundColor); if (c.length && (c.length < 4 || c[3] > 0)) return c; }
    return [255, 255, 255]; };
  return [...document.querySelectorAll("body *")].filter(node => node.checkVisibility() &&
    [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())).map(node => {
      const style = getComputedStyle(node);
      const colour = parts(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
      const [high, low] = [light(colour), light(ground(node))].sort((a, b) => b - a);
      return [(high + .05) / (low + .05), node.textContent.trim().slice(0, 40)];
    }).filter(([ratio]) => ratio < 4.5);
})()"""
# Texts of plots that stand outside their picture, or over another text of it.
MISPLACED = """(() => {
  const wrong = [];
  for (const picture of document.querySelectorAll("svg")) {
    if (!picture.checkVisibility()) continue;
    const frame = picture.getBoundingClientRect();
    const texts = [...picture.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([name, box], place) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1) wrong.push(name);
      for (const [other, that] of texts.slice(place + 1))
        if (box.left < that.right - 1 && that.left < box.right - 1 &&
            box.top < that.bottom - 3 && that.top < box.bottom - 3)
          wrong.push(name + " over " + other);
    });
  }
  return wrong;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = installed()
    if program is None:
        pytest.skip("no Chrome or Chromium on PATH, and CHROME_PATH names none")
    one = Browser(program)
    yield one
    one.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("pages")
    written = {}
    for name, evidence in [("every plot", full()), *((run, evidence_of(run)) for run in RUNS)]:
        written[name] = base / f"{name}.html"
        written[name].write_text(render_html(evidence), encoding="utf-8")
    for n, side in itertools.product(range(5), "ab"):
        planted(base / side / str(n), n + 100 * (side == "b"), projector=1.1 if side == "b" else 1.0)
    compare.main([str(base / "a"), str(base / "b"), "--output", str(base)])
    return {**written, "compare": base / "compare.html"}


@pytest.mark.parametrize("name", ["every plot", "compare", *RUNS])
@pytest.mark.parametrize(("width", "scheme", "language"), [*itertools.product(WIDTHS, SCHEMES, LANGUAGES)])
def test_a_page_is_rendered_as_it_is_meant(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str, language: str
) -> None:
    browser.open(pages[name], width=width, scheme=scheme)
    browser.evaluate(f'document.getElementById("{language}").click()')
    assert browser.of("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    requests: list[Any] = [event["request"]["url"] for event in browser.of("Network.requestWillBeSent")]
    assert requests == [pages[name].as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    shown = browser.evaluate(
        '[...document.querySelectorAll(".page")].filter(p => p.checkVisibility()).map(p => p.lang)'
    )
    assert shown == [language]
    assert browser.evaluate(FAINT) == []
    assert browser.evaluate(MISPLACED) == []
