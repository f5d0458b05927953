"""Rules on the chips: are they known, healthy, visible to torch, and is there room on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from env.audit.registry import TORCH_NPU, Fields, NotApplicableError, Rule, Subject, listed
from env.language import Message, _
from env.npu_smi import Chip

HEALTHY = "OK"
MINOR = "Warning"
MB = 1 << 20
_MASKED = re.compile(r"[xX*.-]+\Z")


def _chips(subject: Subject) -> tuple[Chip, ...]:
    if not subject.host.npu_smi.chips:
        raise NotApplicableError(_("npu-smi showed no chip"))
    return subject.host.npu_smi.chips


def _named(chip: Chip) -> Message:
    return _("NPU {npu} chip {chip} ({name})", npu=chip.npu, chip=chip.chip, name=chip.name or _("no name"))


def chip_unknown(subject: Subject) -> Iterator[Fields]:
    """A name that is in no row of the table: no fault, and nothing that depends on the family was judged."""
    names = {chip.name: chip for chip in _chips(subject) if chip.name and not _MASKED.match(chip.name)}
    for name, chip in names.items():
        if subject.chip_kind(chip) is None:
            yield {"name": name}


def chip_unsupported_declared(subject: Subject) -> Iterator[Fields]:
    """As chip-unsupported, of a torch-npu that is not installed."""
    if subject.host.distribution(TORCH_NPU) is not None:
        raise NotApplicableError(_("torch-npu is installed: see chip-unsupported"))
    for kind in subject.chip_kinds:
        if kind.served_by(subject.torch_npu) is False:
            releases = ", ".join(kind.torch_npu) or "?"
            yield {"chip": kind.name, "torch_npu": subject.torch_npu, "releases": releases, "source": kind.source}


def chip_without_bfloat16(subject: Subject) -> Iterator[Fields]:
    """Of the npu profile only: what else runs on such a machine is not this bundle's to judge."""
    if subject.profile != "npu":
        raise NotApplicableError(_("not the npu profile"))
    for kind in subject.chip_kinds:
        if kind.bfloat16 is False:
            products = kind.float32 == "float16"
            lacks = _("bfloat16 and float32 matrix products") if products else _("bfloat16")
            yield {"chip": kind.name, "lacks": lacks, "source": kind.source}


def to_be_used(subject: Subject) -> tuple[Chip, ...]:
    """The chips that a program here would use, of those that npu-smi shows; all where that cannot be told.

    In a container npu-smi may show the host's cards: those count whose nodes were passed on. Of these
    ASCEND_RT_VISIBLE_DEVICES picks by place, and `Subject.device` one of what is left.
    """
    chips, host = _chips(subject), subject.host
    nodes = {int(node.path.removeprefix("/dev/davinci")) for node in host.davinci}
    passed = tuple(chip for chip in chips if _physical(chip) in nodes)
    if host.system.container and len(passed) == len(nodes) < len(chips):
        chips = passed
    if host.hal.count not in (None, len(chips)):
        return _chips(subject)
    value = host.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    usable = range(len(chips)) if value is None else visible_devices(value, len(chips))
    places = [*usable] if subject.device is None else [*usable][subject.device : subject.device + 1]
    return tuple(chips[place] for place in places) or chips


def _physical(chip: Chip) -> int | None:
    """The number of a chip's node: its Phy-ID, or Device, where the table has that column, else the card's id."""
    if chip.phy is not None:
        return chip.phy
    device = chip.other.get("Device", "")
    return int(device) if device.isdecimal() else chip.npu


def _unhealthy(chips: Sequence[Chip]) -> Iterator[Chip]:
    return (chip for chip in chips if chip.health is not None and chip.health not in (HEALTHY, MINOR))


def chip_unhealthy(subject: Subject) -> Iterator[Fields]:
    for chip in _unhealthy(to_be_used(subject)):
        yield {"chip": _named(chip), "health": chip.health or "?", "npu": str(chip.npu)}


def chip_unhealthy_elsewhere(subject: Subject) -> Iterator[Fields]:
    """Of a card that is not the one to be used."""
    used = to_be_used(subject)
    for chip in _unhealthy([chip for chip in _chips(subject) if chip not in used]):
        yield {"chip": _named(chip), "health": chip.health or "?", "npu": str(chip.npu)}


def chip_warning(subject: Subject) -> Iterator[Fields]:
    for chip in _chips(subject):
        if chip.health == MINOR:
            yield {"chip": _named(chip), "health": chip.health, "npu": str(chip.npu)}


def visible_devices(value: str, count: int) -> list[int]:
    """The devices that torch_npu makes of ASCEND_RT_VISIBLE_DEVICES where the HAL counts `count`.

    As `_parse_visible_devices` and `_device_count_ascend_hal` of torch_npu (tag v7.3.1-pytorch2.9.0) do: reading stops
    at the first character that is neither digit nor comma, an empty text is no device, ids that do not ascend
    strictly are no device, and the list is cut at the first id that is not there.
    """
    kept = value
    for place, character in enumerate(value):
        if character not in "0123456789,":
            kept = value[:place]
            break
    ids = [int(word) for word in kept.split(",") if word]
    if any(low >= high for low, high in pairwise(ids)):
        return []
    usable: list[int] = []
    for device in ids:
        if device >= count:
            break
        usable.append(device)
    return usable


def _visible(subject: Subject) -> tuple[str, int, list[int]]:
    value = subject.host.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    if value is None:
        raise NotApplicableError(_("ASCEND_RT_VISIBLE_DEVICES is not set"))
    count = subject.host.hal.count or len(subject.host.npu_smi.chips) or len(subject.host.davinci)
    if not count:
        raise NotApplicableError(_("the number of devices is not known"))
    return value, count, visible_devices(value, count)


def visible_none(subject: Subject) -> Iterator[Fields]:
    value, count, usable = _visible(subject)
    if not usable:
        yield {"value": value, "count": str(count)}


def visible_cut(subject: Subject) -> Iterator[Fields]:
    value, count, usable = _visible(subject)
    listed_ids = [word for word in value.split(",") if word.strip()]
    if usable and len(usable) < len(listed_ids):
        yield {"value": value, "usable": ",".join(map(str, usable)), "count": str(count)}


def visible_docker(subject: Subject) -> Iterator[Fields]:
    value = subject.host.environ.get("ASCEND_VISIBLE_DEVICES")
    if value is None or subject.host.system.container:
        raise NotApplicableError(_("ASCEND_VISIBLE_DEVICES is not set, or this is a container"))
    if "ASCEND_RT_VISIBLE_DEVICES" not in subject.host.environ:
        yield {"value": value}


def _free_mb(chip: Chip) -> int | None:
    if chip.hbm_used_mb is None or chip.hbm_total_mb is None:
        return None
    return chip.hbm_total_mb - chip.hbm_used_mb


def hbm_in_use(subject: Subject) -> Iterator[Fields]:
    """More memory in use than an idle chip of the kind uses (an idle 910B shows 2.6 to 3.5 GB)."""
    chips = to_be_used(subject)
    running: dict[tuple[int | None, int | None], list[Message]] = {}
    for process in subject.host.npu_smi.processes:
        name = process.name or _("(another container)")
        shown = _("{pid} {name}", pid=process.pid, name=name)
        running.setdefault((process.npu, process.chip), []).append(shown)
    for chip in chips:
        kind = subject.chip_kind(chip)
        idle = kind.idle_mb if kind else None
        processes = running.get((chip.npu, chip.chip), [])
        used = chip.hbm_used_mb
        if processes or (used is not None and idle is not None and used > idle):
            yield {
                "chip": _named(chip),
                "used": "?" if used is None else str(used),
                "total": str(chip.hbm_total_mb or "?"),
                "processes": listed(processes) if processes else _("none shown (another container's do not show)"),
                "npu": str(chip.npu),
            }


def hbm_too_small(subject: Subject) -> Iterator[Fields]:
    """No chip has room for the weights."""
    if subject.checkpoint_bytes is None:
        raise NotApplicableError(_("the size of the checkpoint is not known"))
    free = [(left, chip) for chip in to_be_used(subject) if (left := _free_mb(chip)) is not None]
    if not free:
        raise NotApplicableError(_("no chip shows its memory"))
    left, chip = max(free, key=lambda pair: pair[0])
    if left * MB < subject.checkpoint_bytes:
        yield {"chip": _named(chip), "free": str(left), "needed": str(-(-subject.checkpoint_bytes // MB))}


RULES: dict[str, Rule] = {
    "chip-unknown": chip_unknown,
    "chip-unsupported-declared": chip_unsupported_declared,
    "chip-without-bfloat16": chip_without_bfloat16,
    "chip-unhealthy": chip_unhealthy,
    "chip-unhealthy-elsewhere": chip_unhealthy_elsewhere,
    "chip-warning": chip_warning,
    "visible-devices": visible_none,
    "visible-devices-cut": visible_cut,
    "visible-devices-docker": visible_docker,
    "hbm-in-use": hbm_in_use,
    "hbm-too-small": hbm_too_small,
}
