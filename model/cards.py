"""Several cards as one device, over which one model is split (`--device-map`): each has answered, all are one chip."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from env.device_name import DeviceName, require_cards
from env.errors import UsageError
from env.language import _
from model import device
from model.device import Device


@dataclass(frozen=True)
class Cards(Device):
    """The first card, which inputs go to, and the others. What a device measures is measured on all of them."""

    more: tuple[int, ...] = ()
    split: ClassVar[bool] = True

    @property
    def cards(self) -> tuple[Device, ...]:
        return tuple(Device(self.kind, index, self.asked) for index in (self.index, *self.more))

    def only(self, places: Collection[str]) -> Cards:
        """Without the cards that no part of a model is on."""
        more = tuple(card.index for card in self.cards[1:] if card.label in places)
        return Cards(self.kind, self.index, self.asked, more)

    def synchronize(self) -> None:
        """Wait until every card has done its work: the last layer may be on any."""
        for card in self.cards:
            card.synchronize()

    @property
    def physical(self) -> dict[str, Any] | None:
        """As of one card, with `others` where there are."""
        first, *others = (card.physical for card in self.cards)
        return {**(first or {}), "others": others} if others else first

    def reset_peak_memory(self) -> bool:
        reset = [card.reset_peak_memory() for card in self.cards]
        return all(reset)

    def peak_memory(self) -> dict[str, Any]:
        """The sum as of one card, and `cards`: bytes by name."""
        peaks = {card.label: card.peak_memory()["peak_bytes"] for card in self.cards}
        return {"kind": "device", "peak_bytes": sum(peaks.values()), "cards": peaks}

    def used_memory(self) -> int | None:
        return sum(card.used_memory() or 0 for card in self.cards)


def resolve(asked: str) -> Cards:
    """The cards that `asked` names ("npu:0,1"), or all that are visible with the named one first, each having answered.

    Raises:
        UsageError: a CPU is named, or the cards are not alike.
        EnvironmentMissingError, DeviceError: as `device.resolve`.
    """
    require_cards(asked)
    name = DeviceName.parse(asked)
    first = device.resolve(name.card(name.index).label if name.several else asked)
    if first.kind == "cpu":  # `auto` where no card answers
        raise UsageError(
            _("--device-map splits a model over cards, and no card answers here"), next="python -m env probe"
        )
    others = name.indexes or [card.index for card in visible(first)]
    more = [device.resolve(f"{first.kind}:{index}") for index in others if index != first.index]
    for card in more:
        if card.name != first.name:
            raise UsageError(
                _(
                    "{first} is {chip}, {card} is {other}: a model is split over cards of one kind",
                    first=first.label,
                    chip=first.name,
                    card=card.label,
                    other=card.name,
                ),
                next=_("--device {kind}:0,1 names cards", kind=first.kind),
            )
    if more:
        _api(first).set_device(first.index)  # each that answered became the current one
    return Cards(first.kind, first.index, asked, tuple(card.index for card in more))


def visible(first: Device) -> list[Device]:
    """The card and every other of its kind that this process sees, in their order from it on."""
    count = max(first.index + 1, int(_api(first).device_count()))
    indexes = (*range(first.index, count), *range(first.index))
    return [Device(first.kind, index, first.asked) for index in indexes]


def _api(card: Device) -> Any:
    import torch

    return getattr(torch, card.kind)
