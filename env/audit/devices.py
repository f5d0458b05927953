"""Rules on the driver and what it serves: mounts, nodes, npu-smi, and who counts how many devices."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from env.audit.registry import Fields, NotApplicableError, Rule, Subject, listed
from env.chips import ChipKind
from env.language import _, joined
from env.probe.driver import DCMI, TAKEN, roots
from env.probe.host import NpuSmi

MANAGERS = ("/dev/davinci_manager", "/dev/davinci_manager_docker")
SHARED_NODES = ("/dev/devmm_svm", "/dev/hisi_hdc")
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


def _in_container(subject: Subject) -> str:
    """The driver's root, for the rules on what a container with a part of an Ascend host lacks."""
    host = subject.host
    if not host.system.container or not (host.nodes or host.toolkits or host.driver):
        raise NotApplicableError(_("not a container with a part of an Ascend host"))
    return roots(host.install)[0]


def _mounts(missing: list[str]) -> Fields:
    flags = " ".join(f"--device {path}" if path.startswith("/dev/") else f"-v {path}:{path}:ro" for path in missing)
    return {"missing": ", ".join(missing), "flags": flags}


def container_mounts(subject: Subject) -> Iterator[Fields]:
    """What no program runs without: the driver's libraries and the nodes."""
    root, host = _in_container(subject), subject.host
    missing = [f"{root}/driver/lib64"] if host.driver is None or host.driver.libraries is False else []
    if not host.nodes:
        kinds = _kinds(subject)
        shared = {node for kind in kinds for node in kind.nodes} if kinds else set(SHARED_NODES)
        missing += ["/dev/davinci0", MANAGERS[0], *sorted(shared)]
    if missing:
        yield _mounts(missing)


def container_tools(subject: Subject) -> Iterator[Fields]:
    """What only tools and this audit read: the driver's release, npu-smi and the library that it asks."""
    root, host = _in_container(subject), subject.host
    missing = []
    if host.driver is None or (host.driver.release is None and host.driver.libraries is not None):
        missing.append(f"{root}/driver/version.info")
    if host.npu_smi.status == "missing":
        missing.append("/usr/local/bin/npu-smi")
    asks_dcmi = any(word in (host.npu_smi.error or "") for word in (posixpath.basename(DCMI), TAKEN))
    if not host.dcmi and (host.npu_smi.status == "missing" or asks_dcmi):
        missing.append(posixpath.dirname(DCMI))
    if missing:
        yield _mounts(missing)


def _kinds(subject: Subject) -> tuple[ChipKind, ...]:
    """The known families of this machine's chips; none where none is known."""
    try:
        return subject.chip_kinds
    except NotApplicableError:
        return ()


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
    kinds = _kinds(subject)
    if not kinds and (host.pci or host.npu_smi.chips):
        raise NotApplicableError(_("the chip is in no table: nobody says which nodes it needs"))
    shared = {node for kind in kinds for node in kind.nodes} if kinds else set(SHARED_NODES)
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


def _npu_smi(subject: Subject) -> NpuSmi:
    smi = subject.host.npu_smi
    if smi.status in (NOT_CAPTURED, "missing"):
        raise NotApplicableError(_("npu-smi: {status}", status=smi.status))
    return smi


def _counted_without_it(subject: Subject) -> bool:
    """Whether nodes and the driver's library answer though npu-smi does not: the devices can be used."""
    return bool(subject.host.davinci and subject.host.hal.count)


def npu_smi_failed(subject: Subject) -> Iterator[Fields]:
    smi = _npu_smi(subject)
    if smi.status in ("ok", "unreadable") or (smi.status == "timeout" and _counted_without_it(subject)):
        return
    yield {"error": smi.error or _("no message"), "status": smi.status}


def npu_smi_timeout(subject: Subject) -> Iterator[Fields]:
    smi = _npu_smi(subject)
    if smi.status == "timeout" and _counted_without_it(subject):
        yield {"error": smi.error or _("no message"), "count": str(subject.host.hal.count)}


def npu_smi_unread(subject: Subject) -> Iterator[Fields]:
    """It answered, and this reader does not know the layout: that says nothing of the driver."""
    smi = _npu_smi(subject)
    if smi.status == "unreadable":
        yield {"code": str(smi.returncode)}


def devices_held(subject: Subject) -> Iterator[Fields]:
    """Who owns the devices that npu-smi calls taken."""
    if TAKEN not in (subject.host.npu_smi.error or ""):
        raise NotApplicableError(_("npu-smi calls no device taken"))
    holders = subject.host.holders
    if holders:
        shown = [
            _("process {process} (devices {ids})", process=each.process, ids=", ".join(map(str, each.devices)) or "?")
            for each in holders
        ]
        yield {"holders": listed(shown), "process": str(holders[0].process)}


def counts_disagree(subject: Subject) -> Iterator[Fields]:
    """PCI devices against the bus ids of npu-smi (two chips of a card may share one), nodes against chips against HAL.

    In a container the PCI bus is the host's, so it is not counted there.
    """
    host = subject.host
    chips = host.npu_smi.chips
    counts: list[tuple[str, int]] = []
    buses = {chip.bus.lower() for chip in chips if chip.bus}
    whole = host.npu_smi.status == "ok" and not any(each.where == "npu-smi info" for each in host.unread)
    if host.system.container and host.davinci and len(host.davinci) == host.hal.count and len(chips) > host.hal.count:
        whole = False  # npu-smi shows the host's cards, the container has fewer: what it has agrees
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


RULES: dict[str, Rule] = {
    "driver-missing": driver_missing,
    "container-mounts": container_mounts,
    "container-tools": container_tools,
    "driver-incomplete": driver_incomplete,
    "driver-not-loaded": driver_not_loaded,
    "nodes-missing": nodes_missing,
    "node-permission": node_permission,
    "npu-smi-missing": npu_smi_missing,
    "npu-smi-failed": npu_smi_failed,
    "npu-smi-timeout": npu_smi_timeout,
    "npu-smi-unread": npu_smi_unread,
    "devices-held": devices_held,
    "counts-disagree": counts_disagree,
    "hal-failed": hal_failed,
    "devlib-stub": devlib_stub,
}
