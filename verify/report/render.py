"""The documents from the templates: one set of templates for both languages, so that neither says less."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from env.language import SEPARATORS, Language, Message, _, folded, translate
from verify.report import markdown
from verify.report.appendix import Appendix, share
from verify.report.brief import Brief
from verify.report.campaign import Campaign, Damaged
from verify.report.facts import Facts, figures, is_scalar, number, pick, size, worst
from verify.report.percentiles import NAMES, bears, needed
from verify.run.records import Evidence
from verify.run.verdict import judge

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
SENTENCE_SPACE = {"en": " ", "zh": ""}
ENUMERATION = {"en": ", ", "zh": "、"}
FIGURES_SHOWN = 40  # of the host, and of a check that has no section of its own
DOCUMENTS = ("report", "evidence")  # what is published, and what stands behind it
SECTIONS = (  # of the evidence, templates/sections/<name>.md.j2, in their order
    *("summary", "model", "environment", "preparation", "inference", "definition", "accuracy", "layers"),
    *("configurations", "stability", "frontend", "speech", "performance", "vendor", "audit", "checks", "figures"),
    *("signatures", "notes", "faults"),
)


def render(
    evidence: Evidence,
    language: Language,
    campaign: Campaign | Damaged | None = None,
    *,
    document: str = "evidence",
) -> str:
    """One of a run's `DOCUMENTS` in one language, with the appendix on planted faults where there is a campaign.

    The same evidence and campaign give the same text.
    """
    return rendered(f"{document}.md.j2", language, context(evidence, campaign))


def rendered(template: str, language: Language, fields: Mapping[str, Any]) -> str:
    """A Markdown template with these fields, no line ending in spaces."""
    text = environment(language).get_template(template).render(fields)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def context(evidence: Evidence, campaign: Campaign | Damaged | None = None) -> dict[str, Any]:
    """What every template sees of a run."""
    verdict = judge(evidence)
    facts = Facts(evidence, verdict)
    return {
        "run": evidence.run,
        "setup": evidence.setup,
        "damaged": evidence.damaged,
        "verdict": verdict,
        "facts": facts,
        "brief": Brief(facts),
        "appendix": Appendix(campaign, evidence.run) if isinstance(campaign, Campaign) else None,
        "damaged_appendix": campaign.why if isinstance(campaign, Damaged) else None,
    }


@cache
def environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (the output is Markdown, which the filters escape)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # a section is a paragraph of its own
    )

    formatter = Formatter(language)
    environment.globals.update(language=language, pick=pick, share=share, figures_shown=FIGURES_SHOWN)
    environment.globals.update(sections=SECTIONS, bearing={quantile: needed(quantile) for quantile in NAMES.values()})
    environment.globals["_"] = formatter.sentence
    environment.filters.update(formatter.filters())
    return environment


class Formatter:
    """How values become text in one language. What is None, empty or of the wrong type reads "not recorded"."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.missing = translate(_("not recorded"), language)

    def filters(self) -> Mapping[str, Callable[..., Any]]:
        """The filters of the templates, by name."""
        methods: tuple[Callable[..., Any], ...] = (
            *(self.cell, self.code, self.count, self.extremes, self.figure, self.listed, self.message, self.num),
            *(self.pairs, self.percentile, self.score, self.sentences, self.shape, self.size, self.term),
            *(self.transcript, self.versions),
            *(markdown.block, markdown.tail, worst),
        )
        return {method.__name__: method for method in methods}

    def sentence(self, template: str, /, **fields: object) -> str:
        """A message in the document's language: what templates call `_`. Its fields are Markdown already."""
        return translate(Message(folded(template), **fields), self.language)

    def listed(self, texts: Iterable[str]) -> str:
        """Texts that are Markdown already, one after another."""
        return SEPARATORS[self.language].join(texts)

    def message(self, value: object) -> object:
        """A sentence as a record keeps it, or a list of them, in the document's language; any other value as it is."""
        if isinstance(value, (list, tuple)):
            return [self.message(item) for item in value]
        try:
            message = value if isinstance(value, Message) else Message.from_json(value)
        except ValueError:
            return value
        return translate(message, self.language)

    def cell(self, value: object) -> str:
        return markdown.cell(self._text(value)) or self.missing

    def code(self, value: object) -> str:
        return markdown.code(self._text(value)) or self.missing

    def count(self, value: object) -> str:
        return str(len(value)) if isinstance(value, list) else self.missing

    def extremes(self, value: object, spec: str) -> str:
        """The least and the largest of a list of figures."""
        numbers = [item for item in value if number(item, spec)] if isinstance(value, list) else []
        return f"{number(min(numbers), spec)} - {number(max(numbers), spec)}" if numbers else self.missing

    def figure(self, value: object, name: str) -> str:
        """A figure by its dotted name: bytes have a unit."""
        return (size(value) if name.endswith("bytes") else None) or self.cell(value)

    def num(self, value: object, spec: str) -> str:
        if isinstance(value, list) and value:
            return ", ".join(self.num(item, spec) for item in value if is_scalar(item)) or self.missing
        return number(value, spec) or self.missing

    def pairs(self, value: object) -> str:
        named = (f"{self.cell(name)}={self.cell(inner)}" for name, inner in figures(value))
        return " · ".join(named) or self.missing

    def percentile(self, times: object, name: str, spec: str = ".2f") -> str:
        """A percentile of a component's times; a dash where there are too few samples for it."""
        if pick(times, f"{name}_ms") is None:
            return self.missing
        return self.num(pick(times, f"{name}_ms"), spec) if bears(name, pick(times, "samples_ms")) else "-"

    def score(self, value: object, spec: str) -> str:
        """A figure of verify/speech/scores.py with its interval; undefined where there was nothing to divide by."""
        score, low, high = (number(pick(value, side), spec) for side in ("value", "low", "high"))
        if score is None:
            return translate(_("undefined"), self.language) if isinstance(value, Mapping) else self.missing
        return score if low is None or high is None else f"{score} [{low}, {high}]"

    def sentences(self, paragraph: Iterable[str]) -> str:
        """Sentences in a row: a space between them in English, nothing in Chinese."""
        return SENTENCE_SPACE[self.language].join(paragraph)

    def shape(self, value: object) -> str:
        return f"[{self.cell(value)}]" if isinstance(value, list) and value else self.missing

    def size(self, value: object) -> str:
        return size(value) or self.missing

    def term(self, value: Enum) -> str:
        """A status, a caveat or the verdict's word."""
        return translate(str(value.value), self.language)

    def transcript(self, value: object) -> str:
        """What a model made of a clip: that there is no text is told from a text that is empty."""
        if value is None:
            return translate(_("(none)"), self.language)
        return translate(_("(empty)"), self.language) if value == "" else self.cell(value)

    def versions(self, packages: Iterable[tuple[str, object]]) -> str:
        """Packages with their versions, in a sentence."""
        listed = [f"{self.cell(name)} {self.cell(version)}" for name, version in packages]
        return ENUMERATION[self.language].join(listed) or self.missing

    def _text(self, value: object) -> str:
        if isinstance(value, bool):
            return translate(_("yes") if value else _("no"), self.language)
        if isinstance(value, (list, tuple)) and all(map(is_scalar, value)):
            return ", ".join(map(self._text, value))
        return "" if value is None else str(value)
