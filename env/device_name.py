"""The name of a device: parsed and spelled here, and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from env.errors import UsageError
from env.language import _

Kind = Literal["npu", "cuda", "cpu"]
JOINED = "+"  # between the cards over which one model is split: "npu:0+npu:1", "npu:0+cpu"
KINDS: tuple[Kind, ...] = ("npu", "cuda", "cpu")  # in the order in which `auto` takes them


@dataclass(frozen=True)
class DeviceName:
    """`auto` (no kind), or a kind with the index of a card: "npu" is "npu:0".

    Several cards of one kind are a name too, for what runs on each of them: "npu:0,1", "npu:all".
    """

    kind: Kind | None
    index: int = 0
    text: str = ""  # as the user spelled it
    indexes: tuple[int, ...] | None = ()  # where several are named; None is all there are

    @classmethod
    def parse(cls, text: str) -> DeviceName:
        """Raises: ValueError, where it names no device; its argument is a message."""
        if text == "auto":
            return cls(None, text=text)
        several = re.fullmatch(r"(npu|cuda):(?:(all)|([0-9]{1,4}(?:,[0-9]{1,4})+))", text)
        if several is not None:
            indexes = None if several[2] else tuple(dict.fromkeys(map(int, several[3].split(","))))
            return cls("npu" if several[1] == "npu" else "cuda", (indexes or (0,))[0], text, indexes)
        match = re.fullmatch(r"(npu|cuda|cpu)(?::([0-9]{1,4}))?", text)
        if match is None or (match[1] == "cpu" and match[2] not in (None, "0")):
            raise ValueError(_("no device {name}: npu:N, cuda:N, cpu or auto", name=repr(text)))
        kind = next(kind for kind in KINDS if kind == match[1])
        return cls(kind, int(match[2] or 0), text)

    @classmethod
    def parse_or_none(cls, text: str | None) -> DeviceName | None:
        """The name in a record, which may hold anything."""
        try:
            return None if text is None else cls.parse(text)
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.text or self.label

    @property
    def label(self) -> str:
        """As torch spells it: "npu:0", "cpu"; "auto" where none is named."""
        if self.kind is None:
            return "auto"
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    @property
    def several(self) -> bool:
        """Whether it names a set of cards, each to be taken by itself."""
        return self.indexes is None or len(self.indexes) > 0

    @property
    def has_index(self) -> bool:
        """Whether the user named one card, not a kind of them."""
        return ":" in self.text

    def card(self, index: int) -> DeviceName:
        """Another card of the kind; of the CPU, and of `auto`, there is one alone."""
        return self if self.kind in (None, "cpu") else DeviceName(self.kind, index)

    def covers(self, place: str) -> bool:
        """Whether a place of a split model (JOINED) begins with the card that is named; of several, is theirs alone."""
        cards = [DeviceName.parse_or_none(part) for part in place.split(JOINED) if part != "cpu"]
        if not cards or None in cards:
            return False
        if not self.several:
            return self.kind is None or bool(cards[0] and cards[0].is_same(self))
        indexes = [card.index for card in cards if card is not None and card.kind == self.kind]
        return len(indexes) == len(cards) and (self.indexes is None or set(indexes) <= set(self.indexes))

    def is_same(self, other: DeviceName) -> bool:
        """Whether two names mean one device: "npu" is "npu:0"."""
        return (self.kind, self.index) == (other.kind, other.index)


def require_cards(asked: str) -> None:
    """Refuse --device-map where --device names no card.

    Raises:
        UsageError: it is a CPU.
    """
    if DeviceName.parse(asked).kind == "cpu":
        raise UsageError(
            _("--device-map splits a model over cards, and --device {device} is none", device=asked),
            next=_("leave --device-map out, or name cards: --device npu:0,1"),
        )
