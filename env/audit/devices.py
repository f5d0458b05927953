"""Rules on the driver and what it serves: nodes, npu-smi, counts, health, memory, visible devices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from env.audit.case import Case, Fields, NotApplicableError, rule
from env.npu_smi import Chip
from env.probe.driver import roots

MANAGERS = ("/dev/davinci_manager", "/dev/davinci_manager_docker")
SHARED_NODES = ("/dev/devmm_svm", "/dev/hisi_hdc")
HEALTHY = "OK"
MINOR = "Warning"
MB = 1 << 20
_NOT_ASKED = "not captured"


@rule("driver-missing")
def driver_missing(case: Case) -> Iterator[Fields]:
    if case.host.system.container and (case.host.nodes or case.host.toolkits):
        raise NotApplicableError("a container: see container-mounts")
    if case.host.driver is None:
        places = (
            [f"{case.host.install.root}/driver/version.info"] if case.host.install and case.host.install.root else []
        )
        places.append("/usr/local/Ascend/driver/version.info")
        absent = [f"no {place}" for place in dict.fromkeys(places)]
        if case.host.npu_smi.status in ("missing", _NOT_ASKED):
            absent.append("no npu-smi")
        if not case.host.davinci:
            absent.append("no /dev/davinci*")
        if case.host.pci:
            absent.append(f"{len(case.host.pci)} accelerators on the PCI bus")
        yield {"evidence": ", ".join(absent)}


@rule("container-mounts")
def container_mounts(case: Case) -> Iterator[Fields]:
    """A container that has a part of an Ascend host and lacks the rest of what must be mounted."""
    host = case.host
    if not host.system.container or not (host.nodes or host.toolkits or host.driver):
        raise NotApplicableError("not a container with a part of an Ascend host")
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


@rule("driver-incomplete")
def driver_incomplete(case: Case) -> Iterator[Fields]:
    record = case.host.install
    if record is None or record.status is None:
        raise NotApplicableError("the installer left no status")
    if record.status.lower() != "complete":
        yield {"status": record.status, "path": record.path}


@rule("driver-not-loaded")
def driver_not_loaded(case: Case) -> Iterator[Fields]:
    if case.host.system.container:
        raise NotApplicableError("a container has no modules of its own")
    case.must_be_answered()
    driver = case.driver
    if not case.host.modules and not case.host.davinci:
        yield {"driver": driver.release or "?", "kernel": case.host.system.kernel or "?"}


@rule("nodes-missing")
def nodes_missing(case: Case) -> Iterator[Fields]:
    """Each device's own node, a manager, and the two that all devices share; chips of the 950 line need one only."""
    case.must_be_answered()
    host = case.host
    if host.driver is None or not (host.nodes or (host.modules and not host.system.container)):
        raise NotApplicableError("no driver, not loaded, or nothing passed on: another rule's finding")
    try:
        own = {node for kind in case.chip_kinds for node in kind.nodes}
    except NotApplicableError:
        if host.pci:  # a chip of no known kind: nobody says which nodes it needs
            raise
        own = set()
    paths = {node.path for node in host.nodes}
    missing = sorted((own or set(SHARED_NODES)) - paths)
    if not own and not paths.intersection(MANAGERS):
        missing.insert(0, MANAGERS[0])
    if not own and not host.davinci:
        missing.insert(0, "/dev/davinci0")
    if missing:
        yield {"missing": ", ".join(missing)}


@rule("node-permission")
def node_permission(case: Case) -> Iterator[Fields]:
    known = [node for node in case.host.nodes if node.openable is not None]
    if not known:
        raise NotApplicableError("no node whose permission is known")
    closed = [node for node in known if not node.openable]
    if closed:
        node = closed[0]
        group = (case.host.install.group if case.host.install else None) or "HwHiAiUser"
        user = case.host.user
        yield {
            "nodes": ", ".join(each.path for each in closed),
            "mode": f"{node.mode:04o}",
            "owner": f"{node.uid}:{node.gid}",
            "user": f"uid {user.uid}, gids {', '.join(map(str, user.gids)) or 'none'}",
            "group": group,
        }


@rule("npu-smi-missing")
def npu_smi_missing(case: Case) -> Iterator[Fields]:
    if case.host.system.container:
        raise NotApplicableError("a container: see container-mounts")
    path = case.driver.path
    if case.host.npu_smi.status == "missing":
        yield {"path": path}


@rule("npu-smi-failed")
def npu_smi_failed(case: Case) -> Iterator[Fields]:
    smi = case.host.npu_smi
    if smi.status in (_NOT_ASKED, "missing"):
        raise NotApplicableError(f"npu-smi: {smi.status}")
    if smi.status != "ok":
        yield {"error": smi.error or "no message", "status": smi.status}


def _chips(case: Case) -> tuple[Chip, ...]:
    if not case.host.npu_smi.chips:
        raise NotApplicableError("npu-smi showed no chip")
    return case.host.npu_smi.chips


def _named(chip: Chip) -> str:
    return f"NPU {chip.npu} chip {chip.chip} ({chip.name or 'no name'})"


@rule("chip-unhealthy")
def chip_unhealthy(case: Case) -> Iterator[Fields]:
    for chip in _chips(case):
        if chip.health is not None and chip.health not in (HEALTHY, MINOR):
            yield {"chip": _named(chip), "health": chip.health, "npu": str(chip.npu)}


@rule("chip-warning")
def chip_warning(case: Case) -> Iterator[Fields]:
    for chip in _chips(case):
        if chip.health == MINOR:
            yield {"chip": _named(chip), "health": chip.health, "npu": str(chip.npu)}


@rule("counts-disagree")
def counts_disagree(case: Case) -> Iterator[Fields]:
    """PCI devices against the bus ids of npu-smi (two chips of a card may share one), nodes against chips against HAL.

    In a container the PCI bus is the host's, so it is not counted there.
    """
    host = case.host
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
        raise NotApplicableError("fewer than two counts are known")
    if pci_disagrees or len({count for _, count in counts}) > 1:
        shown = [f"{name} {count}" for name, count in counts]
        if host.pci and not host.system.container:
            shown.insert(0, f"PCI bus {len(host.pci)}")
        missing = f"; not in npu-smi: {', '.join(off_bus)}" if pci_disagrees else ""
        yield {"counts": ", ".join(shown) + missing}


@rule("hal-failed")
def hal_failed(case: Case) -> Iterator[Fields]:
    hal = case.host.hal
    if hal.error == _NOT_ASKED or case.host.driver is None or case.host.driver.libraries is False:
        raise NotApplicableError("no driver library, or it was not asked")
    if any(node.openable is False for node in case.host.nodes):
        raise NotApplicableError("the nodes cannot be opened: see node-permission")
    if hal.error is not None:
        yield {"error": hal.error}


@rule("devlib-stub")
def devlib_stub(case: Case) -> Iterator[Fields]:
    """CANN's devlib holds a stub of the driver's library, to compile against; loaded, it finds no device."""
    first = case.host.library("libascend_hal.so")[:1]
    loaded = first[0] if first else case.host.hal.library or ""
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


def _visible(case: Case) -> tuple[str, int, list[int]]:
    value = case.host.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    if value is None:
        raise NotApplicableError("ASCEND_RT_VISIBLE_DEVICES is not set")
    count = case.host.hal.count or len(case.host.npu_smi.chips) or len(case.host.davinci)
    if not count:
        raise NotApplicableError("the number of devices is not known")
    return value, count, visible_devices(value, count)


@rule("visible-devices")
def visible_none(case: Case) -> Iterator[Fields]:
    value, count, usable = _visible(case)
    if not usable:
        yield {"value": value, "count": str(count)}


@rule("visible-devices-cut")
def visible_cut(case: Case) -> Iterator[Fields]:
    value, count, usable = _visible(case)
    asked = [word for word in value.split(",") if word.strip()]
    if usable and len(usable) < len(asked):
        yield {"value": value, "usable": ",".join(map(str, usable)), "count": str(count)}


@rule("visible-devices-docker")
def visible_docker(case: Case) -> Iterator[Fields]:
    value = case.host.environ.get("ASCEND_VISIBLE_DEVICES")
    if value is None or case.host.system.container:
        raise NotApplicableError("ASCEND_VISIBLE_DEVICES is not set, or this is a container")
    if "ASCEND_RT_VISIBLE_DEVICES" not in case.host.environ:
        yield {"value": value}


def _free_mb(chip: Chip) -> int | None:
    if chip.hbm_used_mb is None or chip.hbm_total_mb is None:
        return None
    return chip.hbm_total_mb - chip.hbm_used_mb


@rule("hbm-in-use")
def hbm_in_use(case: Case) -> Iterator[Fields]:
    """More memory in use than an idle chip of the kind uses (an idle 910B shows 2.6 to 3.5 GB)."""
    chips = _chips(case)
    running: dict[tuple[int, int], list[str]] = {}
    for process in case.host.npu_smi.processes:
        shown = f"{process.pid} {process.name or '(another container)'}"
        running.setdefault((process.npu, process.chip), []).append(shown)
    for chip in chips:
        kind = case.chip_kind(chip)
        idle = kind.idle_mb if kind else None
        processes = running.get((chip.npu, chip.chip), [])
        used = chip.hbm_used_mb
        if processes or (used is not None and idle is not None and used > idle):
            yield {
                "chip": _named(chip),
                "used": "?" if used is None else str(used),
                "total": str(chip.hbm_total_mb or "?"),
                "processes": ", ".join(processes) or "none shown (another container's do not show)",
                "npu": str(chip.npu),
            }


@rule("hbm-too-small")
def hbm_too_small(case: Case) -> Iterator[Fields]:
    """No chip has room for the weights."""
    if case.checkpoint_bytes is None:
        raise NotApplicableError("the size of the checkpoint is not known")
    free = [(left, chip) for chip in _chips(case) if (left := _free_mb(chip)) is not None]
    if not free:
        raise NotApplicableError("no chip shows its memory")
    left, chip = max(free, key=lambda pair: pair[0])
    if left * MB < case.checkpoint_bytes:
        yield {"chip": _named(chip), "free": str(left), "needed": str(-(-case.checkpoint_bytes // MB))}
