"""The document that compares the cards of one machine, from the records of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env.atomic import write_text
from env.language import LANGUAGES, Language
from verify.report.facts import Facts
from verify.report.render import rendered
from verify.run.cards import Cards, evidence_of, machine, read_links
from verify.run.verdict import Verdict, judge


@dataclass(frozen=True)
class Row:
    """One card: its verdict, and the figures that are held beside the other cards'."""

    label: str
    folder: str
    verdict: Verdict
    facts: Facts
    tokens: str | None  # "same" or "other" than most cards'; None where none were decoded

    @property
    def trouble(self) -> list[Any]:
        """The checks that failed or broke."""
        return [judged for judged in self.verdict.checks if judged.status.value in ("fail", "error")]


def rows(folder: Path, cards: Cards) -> Iterator[Row]:
    """The cards in their order."""
    evidence = dict(evidence_of(folder, cards))
    verdicts = {label: judge(one) for label, one in evidence.items()}
    facts = {label: Facts(one, verdicts[label]) for label, one in evidence.items()}
    tokens = {label: one.of("generate", "token_ids") for label, one in facts.items()}
    decoded = [ids for ids in tokens.values() if ids]
    usual = max(decoded, key=decoded.count, default=None)
    for label, verdict in verdicts.items():
        same = None if not tokens[label] else "same" if tokens[label] == usual else "other"
        yield Row(label, cards.cards[label], verdict, facts[label], same)


def render(folder: Path, cards: Cards, language: Language) -> str:
    """The comparison in one language."""
    _word, line = machine(folder, cards)
    fields = {"cards": cards, "rows": list(rows(folder, cards)), "line": line, "links": read_links(folder)}
    return rendered("cards.md.j2", language, fields)


def write_comparison(folder: Path, cards: Cards, output: Path) -> list[Path]:
    """Write cards.zh.md and cards.en.md to `output`.

    Raises:
        StorageError: they cannot be written.
    """
    paths = []
    for language in LANGUAGES:
        path = output / f"cards.{language}.md"
        write_text(path, render(folder, cards, language))
        paths.append(path)
    return paths
