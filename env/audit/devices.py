"""Rules on the driver and what it serves: nodes, npu-smi, counts, health, memory, visible devices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from env.audit.registry import Fields, NotApplicableError, Rule, Subject, listed
from env.language import Message, _, joined
from env.npu_smi import Chip
from env.probe.driver import roots

MANAGERS = ("/dev/davinci_manager", "/dev/davinci_manager_docker")
SHARED_NODES = ("/dev/devmm_svm", "/dev/hisi_hdc")
HEALTHY = "OK"
MINOR = "Warning"
MB = 1 << 20
NOT_CAPTURED = "not captured"


def driver_missing(subject: Subject) -> Iterator[Fields]:
    if subject.host.system.container and (subject.host.nodes or subject.host.toolkits):
        raise NotApplicableError(_("a container: see container-mounts"))
    if subject.host.driver is None:
        places = (
            [f"{subject.host.install.root}/driver/version.info"]
            if subject.host.install and subject.host.install.root
            else []
        )
        places.append("/usr/local/Ascend/driver/version.info")
        absent = list(dict.fromkeys(places))
        if subject.host.npu_smi.status in ("missing", NOT_CAPTURED):
            absent.append("npu-smi")
        if not subject.host.davinci:
            absent.append("/dev/davinci*")
        evidence = [_("no {name}", name=name) for name in absent]
        if subject.host.pci:
            evidence.append(_("{count} accelerators on the PCI bus", count=len(subject.host.pci)))
        yield {"evidence": listed(evidence)}


def container_mounts(subject: Subject) -> Iterator[Fields]:
    """A container that has a part of an Ascend host and lacks the rest of what must be mounted."""
    host = subject.host
    if not host.system.container or not (host.nodes or host.toolkits or host.driver):
        raise NotApplicableError(_("not a container with a part of an Ascend host"))
    missing = []
    root = roots(host.install)[0]
    if host.driver is None or host.driver.libraries is False:
        missing.append(f"{root}/driver/lib64")
    if host.driver is None or (host.driver.release is None and host.driver.libraries is not None):
        missing.append(f"{root}/driver/version.info")
    if host.npu_smi.status == "missing":
        missing.append("/usr/local/bin/npu-smi")
    if not host.nodes:
        missing += ["/dev/davinci0", MANAGERS[0], *SHARED_NODES]
    if missing:
        flags = " ".join(f"--device {path}" if path.startswith("/dev/") else f"-v {path}:{path}:ro" for path in missing)
        yield {"missing": ", ".join(missing), "flags": flags}


def driver_incomplete(subject: Subject) -> Iterator[Fields]:
    record = subject.host.install
    if record is None or record.status is None:
        raise NotApplicableError(_("the installer left no status"))
    if record.status.lower() != "complete":
        yield {"status": record.status, "path": record.path}


def driver_not_loaded(subject: Subject) -> Iterator[Fields]:
    if subject.host.system.container:
        raise NotApplicableError(_("a container has no modules of its own"))
    subject.must_be_answered()
    driver = subject.driver
    if not subject.host.modules and not subject.host.davinci:
        yield {"driver": driver.release or "?", "kernel": subject.host.system.kernel or "?"}


def nodes_missing(subject: Subject) -> Iterator[Fields]:
    """Each device's own node, a manager, and what its family of chips shares; see chips.toml."""
    subject.must_be_answered()
    host = subject.host
    if host.driver is None or not (host.nodes or (host.modules and not host.system.container)):
        raise NotApplicableError(_("no driver, not loaded, or nothing passed on: another rule's finding"))
    try:
        shared = {node for kind in subject.chip_kinds for node in kind.nodes}
    except NotApplicableError:
        if host.pci:  # a chip of no known kind: nobody says which nodes it needs
            raise
        shared = set(SHARED_NODES)
    paths = {node.path for node in host.nodes}
    missing = sorted(shared - paths)
    if not paths.intersection(MANAGERS):
        missing.insert(0, MANAGERS[0])
    if not host.davinci:
        missing.insert(0, "/dev/davinci0")
    if missing:
        yield {"missing": ", ".join(missing)}


def node_permission(subject: Subject) -> Iterator[Fields]:
    known = [node for node in subject.host.nodes if node.openable is not None]
    if not known:
        raise NotApplicableError(_("no node whose permission is known"))
    closed = [node for node in known if not node.openable]
    if closed:
        node = closed[0]
        group = (subject.host.install.group if subject.host.install else None) or "HwHiAiUser"
        user = subject.host.user
        yield {
            "nodes": ", ".join(each.path for each in closed),
            "mode": f"{node.mode:04o}",
            "owner": f"{node.uid}:{node.gid}",
            "user": _("uid {uid}, gids {gids}", uid=user.uid, gids=", ".join(map(str, user.gids)) or _("none")),
            "group": group,
        }


def npu_smi_missing(subject: Subject) -> Iterator[Fields]:
    if subject.host.system.container:
        raise NotApplicableError(_("a container: see container-mounts"))
    path = subject.driver.path
    if subject.host.npu_smi.status == "missing":
        yield {"path": path}


def npu_smi_failed(subject: Subject) -> Iterator[Fields]:
    smi = subject.host.npu_smi
    if smi.status in (NOT_CAPTURED, "missing"):
        raise NotApplicableError(_("npu-smi: {status}", status=smi.status))
    if smi.status != "ok":
        yield {"error": smi.error or _("no message"), "status": smi.status}


def _chips(subject: Subject) -> tuple[Chip, ...]:
    if not subject.host.npu_smi.chips:
        raise NotApplicableError(_("npu-smi showed no chip"))
    return subject.host.npu_smi.chips


def _named(chip: Chip) -> Message:
    return _("NPU {npu} chip {chip} ({name})", npu=chip.npu, chip=chip.chip, name=chip.name or _("no name"))


def chip_unhealthy(subject: Subject) -> Iterator[Fields]:
    for chip in _chips(subject):
        if chip.health is not None and chip.health not in (HEALTHY, MINOR):
            yield {"chip": _named(chip), "health": chip.health, "npu": str(chip.npu)}


def chip_warning(subject: Subject) -> Iterator[Fields]:
    for chip in _chips(subject):
        if chip.health == MINOR:
            yield {"chip": _named(chip), "health": chip.health, "npu": str(chip.npu)}


def counts_disagree(subject: Subject) -> Iterator[Fields]:
    """PCI devices against the bus ids of npu-smi (two chips of a card may share one), nodes against chips against HAL.

    In a container the PCI bus is the host's, so it is not counted there.
    """
    host = subject.host
    chips = host.npu_smi.chips
    counts: list[tuple[str, int]] = []
    buses = {chip.bus.lower() for chip in chips if chip.bus}
    whole = host.npu_smi.status == "ok" and not any(each.where == "npu-smi info" for each in host.unread)
    on_bus = whole and chips and all(chip.bus for chip in chips)
    off_bus = sorted({device.address for device in host.pci} - buses) if on_bus else []
    if host.davinci:
        counts.append(("/dev/davinci*", len(host.davinci)))
    if whole:
        counts.append(("npu-smi", len(chips)))
    if host.hal.count is not None:
        counts.append(("drvGetDevNum", host.hal.count))
    pci_disagrees = bool(off_bus) and not host.system.container
    if len(counts) < 2 and not pci_disagrees:
        raise NotApplicableError(_("fewer than two counts are known"))
    if pci_disagrees or len({count for _, count in counts}) > 1:
        shown: list[str] = [f"{name} {count}" for name, count in counts]
        if host.pci and not host.system.container:
            shown.insert(0, _("PCI bus {count}", count=len(host.pci)))
        parts = [listed(shown)]
        if pci_disagrees:
            parts.append(_("not in npu-smi: {addresses}", addresses=", ".join(off_bus)))
        yield {"counts": joined(*parts)}


def hal_failed(subject: Subject) -> Iterator[Fields]:
    hal = subject.host.hal
    if hal.error == NOT_CAPTURED or subject.host.driver is None or subject.host.driver.libraries is False:
        raise NotApplicableError(_("no driver library, or it was not asked"))
    if any(node.openable is False for node in subject.host.nodes):
        raise NotApplicableError(_("the nodes cannot be opened: see node-permission"))
    if hal.error is not None:
        yield {"error": hal.error}


def devlib_stub(subject: Subject) -> Iterator[Fields]:
    """CANN's devlib holds a stub of the driver's library, to compile against; loaded, it finds no device."""
    first = subject.host.library("libascend_hal.so")[:1]
    loaded = first[0] if first else subject.host.hal.library or ""
    if "/devlib/" in loaded:
        yield {"library": loaded}


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
    chips = _chips(subject)
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
    free = [(left, chip) for chip in _chips(subject) if (left := _free_mb(chip)) is not None]
    if not free:
        raise NotApplicableError(_("no chip shows its memory"))
    left, chip = max(free, key=lambda pair: pair[0])
    if left * MB < subject.checkpoint_bytes:
        yield {"chip": _named(chip), "free": str(left), "needed": str(-(-subject.checkpoint_bytes // MB))}


RULES: dict[str, Rule] = {
    "driver-missing": driver_missing,
    "container-mounts": container_mounts,
    "driver-incomplete": driver_incomplete,
    "driver-not-loaded": driver_not_loaded,
    "nodes-missing": nodes_missing,
    "node-permission": node_permission,
    "npu-smi-missing": npu_smi_missing,
    "npu-smi-failed": npu_smi_failed,
    "chip-unhealthy": chip_unhealthy,
    "chip-warning": chip_warning,
    "counts-disagree": counts_disagree,
    "hal-failed": hal_failed,
    "devlib-stub": devlib_stub,
    "visible-devices": visible_none,
    "visible-devices-cut": visible_cut,
    "visible-devices-docker": visible_docker,
    "hbm-in-use": hbm_in_use,
    "hbm-too-small": hbm_too_small,
}
