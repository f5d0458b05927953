"""The documents from the templates: one set of templates for both languages, so that neither says less."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from env.atomic import write_text
from verify.report import markdown
from verify.report.appendix import Appendix, share
from verify.report.campaign import Campaign, Damaged
from verify.report.facts import Facts, figures, is_scalar, number, pick, size, worst
from verify.run.records import Evidence
from verify.run.verdict import Language, in_language, judge

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
LANGUAGES: tuple[Language, ...] = ("zh", "en")  # Chinese first, as the field publishes
FIGURES_SHOWN = 40  # of the host, and of a check that has no section of its own


def render(evidence: Evidence, language: Language, campaign: Campaign | Damaged | None = None) -> str:
    """The document of a run in one language, with the appendix on planted faults where a campaign is given.

    The same evidence and campaign give the same text.
    """
    verdict = judge(evidence)
    text = (
        _environment(language)
        .get_template("report.md.j2")
        .render(
            run=evidence.run,
            setup=evidence.setup,
            damaged=evidence.damaged,
            verdict=verdict,
            facts=Facts(evidence, verdict),
            appendix=Appendix(campaign, evidence.run) if isinstance(campaign, Campaign) else None,
            damaged_appendix=campaign.why if isinstance(campaign, Damaged) else None,
        )
    )
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 (the output is Markdown, which the filters escape)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # a section is a paragraph of its own
    )

    def say(zh: str, en: str) -> str:
        return zh if language == "zh" else en

    environment.globals.update(say=say, language=language, pick=pick, share=share, figures_shown=FIGURES_SHOWN)
    environment.filters.update(_filters(language, say))
    return environment


def _filters(language: Language, say: Callable[[str, str], str]) -> Mapping[str, Callable[..., str]]:
    """How values become text. What is None, empty or of the wrong type is said to be not recorded."""
    missing = say("未记录", "not recorded")

    def text(value: object) -> str:
        if isinstance(value, bool):
            return say("是", "yes") if value else say("否", "no")
        if isinstance(value, (list, tuple)) and all(map(is_scalar, value)):
            return ", ".join(map(text, value))
        return "" if value is None else str(value)

    def figure(value: object, name: str) -> str:
        return (size(value) if name.endswith("bytes") else None) or cell(value)

    def cell(value: object) -> str:
        return markdown.cell(text(value)) or missing

    def num(value: object, spec: str) -> str:
        if isinstance(value, list) and value:
            return ", ".join(num(item, spec) for item in value if is_scalar(item)) or missing
        return number(value, spec) or missing

    def score(value: object, spec: str) -> str:
        """A figure of verify/speech/scores.py with its interval; undefined where there was nothing to divide by."""
        found, low, high = (number(pick(value, side), spec) for side in ("value", "low", "high"))
        if found is None:
            return say("无定义", "undefined") if isinstance(value, Mapping) else missing
        return found if low is None or high is None else f"{found} [{low}, {high}]"

    def words(value: object) -> str:
        """A text that was heard: none where there is none, and told from one that is empty."""
        return say("（空）", "(empty)") if value == "" else say("（无）", "(none)") if value is None else cell(value)

    def shape(value: Any) -> str:
        return f"[{cell(value)}]" if isinstance(value, list) and value else missing

    return {
        "cell": cell,
        "code": lambda value: markdown.code(text(value)) or missing,
        "block": markdown.block,
        "tail": markdown.tail,  # type: ignore[dict-item]
        "count": lambda value: str(len(value)) if isinstance(value, list) else missing,
        "figure": figure,
        "num": num,
        "pairs": lambda value: " · ".join(f"{cell(name)}={cell(inner)}" for name, inner in figures(value)) or missing,
        "score": score,
        "shape": shape,
        "size": lambda value: size(value) or missing,
        "word": lambda value: in_language(value, language),
        "words": words,
        "worst": worst,  # type: ignore[dict-item]
    }


def write_documents(evidence: Evidence, folder: Path, campaign: Campaign | Damaged | None = None) -> list[Path]:
    """Write report.zh.md and report.en.md into `folder` and return their paths.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    paths = [folder / f"report.{language}.md" for language in LANGUAGES]
    for path, language in zip(paths, LANGUAGES, strict=True):
        write_text(path, render(evidence, language, campaign))
    return paths
