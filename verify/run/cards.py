"""The list of a machine's cards that were verified together, each in a run of its own beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from env.errors import RecordError
from env.language import Message, _, joined
from verify.run.records import Evidence, read_evidence
from verify.run.verdict import Word, judge, remarked

CARDS_FILE = "cards.json"


class Cards(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cards.json holds."""

    schema: int = 1
    started: str
    device: str  # as it was asked for: "npu:all"
    cards: dict[str, str]  # the card's device: the folder of its run, beside cards.json
    command: str


def read_cards(folder: Path) -> Cards:
    """The list in a machine's folder.

    Raises:
        RecordError: there is none, or it is damaged.
    """
    try:
        cards = msgspec.json.decode((folder / CARDS_FILE).read_bytes(), type=Cards)
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
    verdicts = {label: judge(evidence) for label, evidence in evidence_of(folder, cards)}
    words = [verdict.word for verdict in verdicts.values()]
    line = _("{verified} of {count} cards verified", verified=words.count(Word.VERIFIED), count=len(words))
    weaker = {str(qualifier): qualifier for verdict in verdicts.values() for qualifier in verdict.qualifiers}
    others = [
        _("{card} {word}", card=label, word=Message(verdict.word.value))
        for label, verdict in verdicts.items()
        if verdict.word is not Word.VERIFIED
    ]
    whole = joined(remarked(line, list(weaker.values())), *others)
    return min(words, key=list(Word).index, default=Word.NOT_VERIFIED), whole
