"""The list of a machine's cards that were verified together, each in a run of its own beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from env import elsewhere
from env.errors import RecordError
from env.hccl_test import SUCCESS, UNCHECKED
from env.language import Message, _, joined
from verify.run.departure import layer_of
from verify.run.records import Evidence, read_evidence
from verify.run.verdict import Word, judge, remarked

CARDS_FILE = "cards.json"
LINKS_FILE = "links.json"


class Cards(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cards.json holds."""

    schema: int = 1
    started: str
    device: str  # as it was asked for: "npu:all"
    cards: dict[str, str]  # the card's device: the folder of its run, beside cards.json
    command: str
    at_once: int | None = None  # how many were verified at a time; None where all were


class LinkRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All-reduces of one size: the fastest, its bus bandwidth, and whether every sum was exact on every card."""

    bytes: int
    seconds: float
    gb_s: float
    exact: bool


class HcclRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All-reduces of one size by the vendor's hccl_test, in bus bandwidth as ours, and its word on the sums."""

    bytes: int
    gb_s: float
    word: str


class HcclTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vendor's own test of the links, where it was asked for; `unread` is why it says nothing."""

    rows: list[HcclRow]
    unread: str | None = None

    @property
    def problem(self) -> Message | None:
        """A sum that the vendor's test calls wrong."""
        wrong = [row for row in self.rows if row.word not in (SUCCESS, UNCHECKED)]
        return _("hccl_test: wrong sums at {bytes} bytes", bytes=wrong[0].bytes) if wrong else None

    @property
    def remark(self) -> Message | None:
        """What it did not check, which is none of what passed."""
        if self.unread is not None:
            return _("hccl_test not read: {reason}", reason=self.unread)
        unchecked = sum(row.word == UNCHECKED for row in self.rows)
        if not unchecked:
            return None
        return _("hccl_test did not check {count} of {n} sums", count=unchecked, n=len(self.rows))


class Links(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What links.json holds: the cards joined once. `problem` is why they are not proven, where they are not."""

    backend: str
    cards: list[str]
    rows: list[LinkRow]
    problem: str | None
    skipped: str | None = None
    hccl_test: HcclTest | None = None


def read_links(folder: Path) -> Links | None:
    """The links of a machine; None where they were not looked at, or cannot be read."""
    try:
        return msgspec.json.decode(elsewhere.read_bytes(folder / LINKS_FILE, "record", root=folder), type=Links)
    except (OSError, msgspec.DecodeError):
        return None


def read_cards(folder: Path) -> Cards:
    """The list in a machine's folder.

    Raises:
        RecordError: there is none, or it is damaged.
    """
    try:
        cards = msgspec.json.decode(elsewhere.read_bytes(folder / CARDS_FILE, "record", root=folder), type=Cards)
    except (OSError, msgspec.DecodeError) as error:
        raise RecordError(
            _("{file} cannot be read: {error}", file=str(folder / CARDS_FILE), error=str(error))
        ) from error
    if any(Path(run).name != run or run.startswith(".") for run in cards.cards.values()):
        raise RecordError(_("{file} names folders elsewhere", file=str(folder / CARDS_FILE)))
    return cards


def evidence_of(folder: Path, cards: Cards) -> Iterator[tuple[str, Evidence]]:
    """Each card with the evidence of its run; a run that left none is an empty one, which verifies nothing."""
    for label, run in cards.cards.items():
        try:
            yield label, read_evidence(folder / run)
        except RecordError:
            yield label, Evidence(run=None, setup=None, records={}, damaged={})


def machine(folder: Path, cards: Cards) -> tuple[Word, str]:
    """The verdict on all cards together: the worst of theirs, with whatever weakens any, and those not verified."""
    evidence = dict(evidence_of(folder, cards))
    verdicts = {label: judge(one) for label, one in evidence.items()}
    words = [verdict.word for verdict in verdicts.values()]
    line = _("{verified} of {count} cards verified", verified=words.count(Word.VERIFIED), count=len(words))
    weaker = {str(qualifier): qualifier for verdict in verdicts.values() for qualifier in verdict.qualifiers}
    others = [
        _other(label, verdict.word, evidence[label])
        for label, verdict in verdicts.items()
        if verdict.word is not Word.VERIFIED
    ]
    links = read_links(folder)
    if links is not None and links.problem is not None:
        words.append(Word.FAILED if links.rows else Word.INCOMPLETE)
        others.append(_("links: {problem}", problem=links.problem))
    if links is not None and links.hccl_test is not None:
        if links.hccl_test.problem:
            words.append(Word.FAILED)
        others += filter(None, [links.hccl_test.problem, links.hccl_test.remark])
    whole = joined(remarked(line, list(weaker.values())), *others)
    return min(words, key=list(Word).index, default=Word.NOT_VERIFIED), whole


def _other(label: str, word: Word, evidence: Evidence) -> Message:
    """A card that is not verified, with the layer that departs where one does."""
    layer = layer_of(evidence.data("layers")) or layer_of(evidence.data("sharp"))
    if layer is None:
        return _("{card} {word}", card=label, word=Message(word.value))
    return _("{card} {word}, first in {layer}", card=label, word=Message(word.value), layer=layer)
