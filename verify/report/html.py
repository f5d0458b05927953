"""The adaptation document as one HTML file: both languages, plots, no script, nothing fetched from anywhere."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from env.language import LANGUAGES, Language, _, folded, translate
from verify.report.campaign import Campaign, Damaged
from verify.report.facts import pick
from verify.report.markdown import clipped
from verify.report.percentiles import NAMES, needed
from verify.report.plots import Plots
from verify.report.render import TEMPLATES, Formatter, context
from verify.run.records import Evidence
from verify.run.text import one_line, printable

REPORT_FILE = "report.html"
NAMES_OF_LANGUAGES: Mapping[Language, str] = {"zh": "中文", "en": "English"}  # each in itself


def render_html(evidence: Evidence, campaign: Campaign | Damaged | None = None) -> str:
    """report.html of a run: the same evidence gives the same text."""
    run = context(evidence, campaign)
    run["plots"] = Plots(run["facts"], run["brief"].times)
    return page_of("html/page.html.j2", run, headline=run["verdict"].headline())


def page_of(template: str, fields: Mapping[str, Any], *, headline: str) -> str:
    """A template in every language as one page."""
    pages = [
        (language, Markup(_environment(language).get_template(template).render(fields)))  # noqa: S704 (made of escaped text by our template)
        for language in LANGUAGES
    ]
    whole = _environment("en").get_template("html/report.html.j2")
    skip = " / ".join(translate(_("To the content"), language) for language in LANGUAGES)
    text = whole.render(pages=pages, headline=one_line(headline), names=NAMES_OF_LANGUAGES, skip=skip)
    return re.sub(r"\n{2,}", "\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_shown,  # labels of plots and heads of tables too, which no filter has seen
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formatter = HtmlFormatter(language)
    environment.globals.update(language=language, pick=pick, bearing={q: needed(q) for q in NAMES.values()})
    environment.globals["_"] = formatter.sentence
    environment.filters.update(formatter.filters())
    return environment


def _shown(value: object) -> object:
    """What a template prints: text that is no element of ours yet has no control or direction character."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


class HtmlFormatter(Formatter):
    """Values as text, which the templates escape; only code and a template's own marks are elements."""

    def filters(self) -> Mapping[str, Callable[..., Any]]:
        return {**super().filters(), "short": short}

    def sentence(self, template: str, /, **fields: object) -> Markup:
        """A message with its Markdown as elements; its fields are escaped where they are not elements already."""
        return _marked(translate(folded(template), self.language)).format(**fields)

    def cell(self, value: object) -> str:
        return one_line(clipped(self._text(value))) or self.missing

    def code(self, value: object) -> str:
        text = one_line(clipped(self._text(value)))
        return Markup("<code>{}</code>").format(text) if text else self.missing


def short(text: str, length: int) -> str:
    """The end of a text that is too long for its place, which tells more than its beginning."""
    return text if len(text) <= length else "…" + text[1 - length :]


def _marked(template: str) -> Markup:
    """A template's **strong** and `code`, and nothing else, as elements."""
    text = html.escape(template, quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", text))  # noqa: S704 (a message of ours, escaped above)
