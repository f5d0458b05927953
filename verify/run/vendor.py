"""What the vendor's tools say of a card, judged: as judgement.py, and what to say of it beside a pass."""

from __future__ import annotations

from env.ascend_dmi import Item, Meaning, meaning
from env.language import Message, _
from verify.run.figures.vendor import VendorFigures, VendorItemFigures

# Of one minute's best of ours over one call of theirs. A floor is what this machine reached: more than the vendor's
# tool reaches is a doubt on one of the two. One call of ascend-dmi is no steady figure (FlagPerf, Ascend A3, 7.3).
ABOVE, BELOW = 1.1, 0.5


def of_vendor(figures: VendorFigures) -> list[Message]:
    """Every item that the vendor's tool calls bad."""
    return [
        _("{item}: {word} ({text})", item=item.name, word=item.word, text=item.text)
        for item in figures.items
        if _meaning(item) == "bad"
    ]


def vendor_passed(figures: VendorFigures) -> int:
    """How many items the tool calls good."""
    return sum(_meaning(item) == "good" for item in figures.items)


def untested(figures: VendorFigures) -> list[Message]:
    """What the tool did not test or only warns of, and what it did not answer."""
    words = [f"{item.name} {item.word or '-'}" for item in figures.items if _meaning(item) in ("untested", "warned")]
    texts = [_("not among what passed: {items}", items=", ".join(words))] if words else []
    return texts + [_("{name} not read: {reason}", name=name, reason=reason) for name, reason in figures.unread.items()]


def contradictions(figures: VendorFigures) -> list[Message]:
    """The rates in which our floor and theirs cannot both be right; of an A3 card theirs is shared by its dies."""
    texts = []
    for rate in figures.rates:
        theirs = rate.theirs / rate.dies
        if rate.ours is None or BELOW * theirs <= rate.ours <= ABOVE * theirs:
            continue
        fields = {"name": rate.name, "ours": rate.ours, "theirs": theirs, "unit": rate.unit}
        texts.append(
            _("{name}: {ours:.1f} {unit} measured here, more than the vendor's tool reaches ({theirs:.1f})", **fields)
            if rate.ours > theirs
            else _("{name}: {ours:.1f} {unit} measured here, less than half of the vendor's {theirs:.1f}", **fields)
        )
    return texts


def _meaning(item: VendorItemFigures) -> Meaning:
    return meaning(Item(item.name, item.word, item.text))
