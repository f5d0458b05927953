"""What rows of published tables say of two versions: yes, no, older than all that they list, not listed, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from env.versions import in_series, is_series, parse, stem

CONFIDENCES = ("high", "medium", "low")  # best first
Word = Literal["yes", "no", "older", "unlisted", "unknown"]

_PRERELEASE = re.compile(r"alpha|beta", re.IGNORECASE)


@dataclass(frozen=True)
class Evidence:
    """A row of a table, for one of the two versions that it pairs: what it lists beside it, and what it refuses."""

    listed: tuple[str, ...]
    refused: tuple[str, ...]
    confidence: str
    source: str


@dataclass(frozen=True)
class Verdict:
    """The answer of the tables, the confidence of the row that gave it, and what the rows list."""

    word: Word
    confidence: str = "low"
    listed: tuple[str, ...] = ()
    source: str = ""

    @property
    def cited(self) -> str:
        return f"{self.source} [{self.confidence}]"


UNKNOWN = Verdict("unknown")


def names(entry: str, version: str) -> bool:
    """Whether a table's entry names a version: a release with its patches, or a series with all of it.

    An alpha or a beta is named only by itself, and a whole series ("8.5.*") only by a series that holds it.
    """
    if _PRERELEASE.search(version) and not _PRERELEASE.search(entry):
        return False
    if is_series(version):
        return is_series(entry) and f"{stem(version)}.".casefold().startswith(f"{stem(entry)}.".casefold())
    return in_series(version, entry)


def older(version: str, entry: str) -> bool:
    """Whether a version lies below everything that an entry names: 24.1.0 below "25.0.X"."""
    series = [stem(text) for text in (version, entry) if is_series(text)]
    if not series:
        return parse(version) < parse(entry)
    parts = min(text.count(".") + 1 for text in series)
    return parse(stem(version)).release(parts) < parse(stem(entry)).release(parts)


def best(confidences: Iterable[str]) -> str:
    return min(confidences, key=CONFIDENCES.index, default=CONFIDENCES[-1])


def weakest(confidences: Iterable[str]) -> str:
    return max(confidences, key=CONFIDENCES.index, default=CONFIDENCES[-1])


def decide(version: str, rows: Sequence[Evidence]) -> Verdict:
    """What rows say of a version. Where some list it and some refuse it, the better evidence decides, then the no."""
    if not rows:
        return UNKNOWN
    listed = tuple(dict.fromkeys(entry for row in rows for entry in row.listed))
    refusing = [row for row in rows if any(names(entry, version) for entry in row.refused)]
    listing = [row for row in rows if any(names(entry, version) for entry in row.listed)]
    refusal, listing_best = best(row.confidence for row in refusing), best(row.confidence for row in listing)
    if refusing and (not listing or CONFIDENCES.index(refusal) <= CONFIDENCES.index(listing_best)):
        return _told("no", refusing, listed)
    if listing:
        return _told("yes", listing, listed)
    below = all(older(version, entry) for entry in listed)
    return _told("older" if below and listed else "unlisted", rows, listed)


def _told(word: Word, rows: Sequence[Evidence], listed: tuple[str, ...]) -> Verdict:
    """A verdict by the best of the rows that bear it."""
    confidence = best(row.confidence for row in rows)
    sources = dict.fromkeys(row.source for row in rows if row.confidence == confidence)
    return Verdict(word, confidence, listed, "; ".join(sources))


def over_series(version: str, releases: Iterable[str], verdict_of: Callable[[str], Verdict]) -> Verdict:
    """The verdict on a release; on a series, that on which all its known releases agree, else "unlisted"."""
    if not is_series(version):
        return verdict_of(version)
    verdicts = [verdict_of(release) for release in releases if in_series(release, version)]
    if not verdicts:
        return verdict_of(version)
    words = {verdict.word for verdict in verdicts}
    confidence = weakest(verdict.confidence for verdict in verdicts)
    chosen = next(verdict for verdict in verdicts if verdict.confidence == confidence)
    word: Word = words.pop() if len(words) == 1 else "unlisted"
    listed = tuple(dict.fromkeys(entry for verdict in verdicts for entry in verdict.listed))
    return Verdict(word, confidence, listed, chosen.source)
