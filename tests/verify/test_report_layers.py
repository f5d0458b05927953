"""The two layers of the documents: one page to read, and the evidence that each of its figures leads to."""

from __future__ import annotations

import re

import pytest

from env.language import LANGUAGES, Language
from tests.verify.report_runs import RUNS, data_of, document, row, section, with_record
from verify.report.percentiles import needed
from verify.report.render import render

PASSED = ("cpu-stand-in", "npu-verified")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("run", PASSED)
def test_a_passed_run_takes_at_most_150_lines(run: str, language: Language) -> None:
    assert document(run, language, "report").count("\n") <= 150


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("run", RUNS)
def test_every_link_of_the_report_leads_to_a_place_in_the_evidence(run: str, language: Language) -> None:
    targets = set(re.findall(r"\]\(([^)#]+)#([^)]+)\)", document(run, language, "report")))
    anchors = re.findall(r'^<a id="([^"]+)"></a>$', document(run, language), re.MULTILINE)
    assert len(anchors) == len(set(anchors))
    assert {file for file, _ in targets} == {f"evidence.{language}.md"}
    assert {anchor for _, anchor in targets} <= set(anchors)


@pytest.mark.parametrize("run", RUNS)
def test_every_table_of_figures_leads_to_its_evidence(run: str) -> None:
    """In its head, or in every row."""
    for table in re.findall(r"(?:^\|.*\n)+", document(run, "en", "report"), re.MULTILINE):
        head, _, *rows = table.splitlines()
        options = head == "| Option | Meaning |"
        assert options or "](evidence.en.md#" in head or all("](evidence.en.md#" in line for line in rows), head


def test_the_first_screen_tells_machine_verdict_exactness_speed_and_what_was_not_shown() -> None:
    first = document("cpu-stand-in", "en", "report").splitlines()[:30]
    glance = "\n".join(first)
    for what in ("Machine", "Verdict", "How exact", "Layer by layer", "Speech in words", "How fast", "Not shown"):
        assert f"| [{what}](evidence.en.md#" in glance
    assert "anything of an NPU: it ran on cpu" in glance
    assert "whether it holds for long under load (level 4)" in glance
    assert "stand-in weights" in glance


def test_a_check_that_never_ran_is_among_what_was_not_shown() -> None:
    shown = section(document("interrupted", "en", "report"), "## Summary")
    assert "parity: not-run" in next(line for line in shown.splitlines() if line.startswith("| [Not shown]"))


@pytest.mark.parametrize(("quantile", "samples"), [(0.5, 11), (0.9, 64), (0.99, 662)])
def test_a_percentile_needs_as_many_samples_as_mlperf_s_early_stopping_has_it(quantile: float, samples: int) -> None:
    assert needed(quantile) == samples


@pytest.mark.parametrize(
    ("samples", "shown"), [(10, ["-", "-", "-"]), (11, ["46.65", "-", "-"]), (64, ["46.65", "48.30", "-"])]
)
def test_a_percentile_of_too_few_samples_is_a_dash(samples: int, shown: list[str]) -> None:
    data = dict(data_of("npu-verified", "benchmark"))
    data["total"] = {**data["total"], "samples_ms": [46.0] * samples}
    text = render(with_record("npu-verified", "benchmark", data=data), "en", document="report")
    assert row(text, "total").split(" | ")[4:7] == shown
