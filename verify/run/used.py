"""Which device a run's records are of, and whether that is the one that was asked for.

A model that is split (--device-map) is on several: its place is their names joined, "npu:0+npu:1", "npu:0+cpu".
"""

from __future__ import annotations

from collections.abc import Mapping

from env.device_name import JOINED, DeviceName
from verify.run.records import Evidence, Record


def device_used(evidence: Evidence) -> str | None:
    """The device that the device check computed on: "npu:0", "cpu"; None where it did not. Of a run whose model is
    split every place of it, "npu:0+npu:1": the card that the check names, and those that it has tried beside it.
    """
    data = evidence.data("device")
    kind, index = _text(data.get("kind")), data.get("index")
    name = DeviceName.parse_or_none(kind)
    first = name.card(index).label if name and isinstance(index, int) else kind
    load = evidence.records.get("load")
    place = _text(load.signature.get("device")) if load and is_split(evidence) else None
    others = data.get("others")
    tried = {first, "cpu", *(_text(card.get("label")) for card in others or [] if isinstance(card, Mapping))}
    return place if place and first and place.split(JOINED)[0] == first and tried >= set(place.split(JOINED)) else first


def is_split(evidence: Evidence) -> bool:
    return evidence.run is not None and evidence.run.device_map is not None


def is_on(place: str, requested: str) -> bool:
    """Whether the place of a split model is what was asked for: from the card that was named on, or the cards named."""
    name = DeviceName.parse_or_none(requested)
    return name is not None and name.covers(place)


def same_device(one: str, other: str) -> bool:
    """Whether two names mean one device: "npu" is "npu:0"."""
    first, second = DeviceName.parse_or_none(one), DeviceName.parse_or_none(other)
    return first.is_same(second) if first and second else one == other


def is_npu(device: str) -> bool:
    name = DeviceName.parse_or_none(device.split(JOINED)[0])
    return name is not None and name.kind == "npu"


def as_loaded(record: Record, load: Record | None, used: str) -> bool:
    """Whether a split model was on the cards of the run and where `load` had it; of other weights, the former."""
    if not set(str(record.signature["device"]).split(JOINED)) <= set(used.split(JOINED)):
        return False
    same = ("weights_name", "dtype")
    if load is None or any(record.signature.get(name) != load.signature.get(name) for name in same):
        return True
    return all(record.signature.get(name) == load.signature.get(name) for name in ("device", "device_map"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
