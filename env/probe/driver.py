"""Driver, firmware, kernel modules, PCI devices, and what npu-smi and the HAL library answer."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Sequence

from env import elsewhere, npu_smi
from env.language import _
from env.probe import vendor
from env.probe.host import HUAWEI_PCI_VENDOR, Driver, Firmware, Hal, Holder, Install, NpuSmi, PciDevice
from env.probe.snapshot import NOT_CAPTURED, Commands
from env.probe.tree import Tree
from env.runner import NOT_FOUND, TIMED_OUT

DEFAULT_ROOT = "/usr/local/Ascend"
INSTALL_RECORD = "/etc/ascend_install.info"
DCMI = "/usr/local/dcmi/libdcmi.so"
NAMESPACES = "/proc/uda/namespace_node"
TAKEN = "-8020"  # DCMI: another mount namespace owns the device
HOSTS_OWN = 128  # namespaces from here on own no device by themselves
NPU_SMI_SECONDS = 20.0  # a healthy 16-die host answers in a few seconds; a hung driver never does
HAL_SECONDS = 10.0

_MODULES = re.compile(r"(drv_\w+|ascend_\w+|asdrv_\w+|davinci\w*|ts_agent)\Z")
_NAMESPACE = re.compile(r"ns_id ([0-9]{1,9}) .{0,80}?root_tgid ([0-9]{1,9}) ")
_ACCELERATOR = "0x1200"  # PCI class 12.00; Kunpeng hosts are full of other devices of the same vendor

# Called in a child process: a stub or a broken driver may crash or hang whoever loads it. The name alone comes first,
# as torch_npu loads it (`_device_count_ascend_hal`), then the driver's own file.
_COUNT = """
import ctypes, json, sys
answer = {"count": None, "library": None, "error": None}
for name in sys.argv[1:]:
    try:
        library = ctypes.CDLL(name)
        count = ctypes.c_uint32(0)
        code = library.drvGetDevNum(ctypes.byref(count))
    except (OSError, AttributeError) as error:
        answer["error"] = answer["error"] or str(error)
        continue
    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if "libascend_hal" in line}
    answer["library"] = min(paths, default=name)
    answer["count"], answer["error"] = (count.value, None) if code == 0 else (None, f"drvGetDevNum returned {code}")
    break
print(json.dumps(answer))
"""


def install(tree: Tree) -> Install | None:
    text = tree.read(INSTALL_RECORD)
    if text is None:
        return None
    fields = vendor.assignments(text)
    if not fields:
        tree.note(INSTALL_RECORD, _("no key=value line in it"))
    for_all = fields.get("Driver_Install_For_All")
    return Install(
        path=INSTALL_RECORD,
        root=fields.get("Driver_Install_Path_Param"),
        user=fields.get("UserName"),
        group=fields.get("UserGroup"),
        for_all=None if for_all is None else for_all.lower() == "yes",
        status=fields.get("Driver_Install_Status"),
    )


def roots(record: Install | None) -> tuple[str, ...]:
    """Where Ascend software is looked for: the recorded root, then the default one."""
    recorded = record.root.rstrip("/") if record and record.root else DEFAULT_ROOT
    return tuple(dict.fromkeys((recorded or DEFAULT_ROOT, DEFAULT_ROOT)))


def driver(tree: Tree, places: Sequence[str]) -> Driver | None:
    """The driver of the first root that has one; a folder without a readable version.info is still a driver."""
    for place in places:
        folder = f"{place}/driver"
        libraries: bool | None = any(
            tree.exists(f"{folder}/lib64/{name}") for name in ("libascend_hal.so", "driver/libascend_hal.so")
        )
        text = tree.read(f"{folder}/version.info")
        hidden = any(where.startswith(f"{folder}/") for where in tree.unread)  # it is there, not for this user
        if text is None and not libraries and not hidden:
            continue
        libraries = libraries or (None if hidden else False)
        fields = vendor.assignments(text or "")
        version = fields.get("package_version") or fields.get("Version")
        if text is not None and version is None:
            tree.note(f"{folder}/version.info", _("no version in it"))
        pairs = vendor.ranges(fields.get("compatible_version_fw", ""))
        return Driver(
            path=folder,
            release=version,
            version=fields.get("Version"),
            innerversion=fields.get("Innerversion") or fields.get("innerversion"),
            cann_families=vendor.bracketed(fields.get("compatible_version", "")),
            firmware_range=pairs[0] if pairs else None,
            libraries=libraries,
        )
    return None


def firmware(tree: Tree, places: Sequence[str], command: Commands) -> Firmware | None:
    """The firmware record, else the lowest version that upgrade-tool reads off the chips."""
    for place in places:
        path = f"{place}/firmware/version.info"
        text = tree.read(path)
        if text is None:
            continue
        fields = vendor.assignments(text)
        if "Version" not in fields and "package_version" not in fields:
            tree.note(path, _("no version in it"))
        return Firmware(
            path=path,
            release=fields.get("package_version"),
            version=fields.get("Version"),
            driver_ranges=vendor.ranges(fields.get("compatible_version_drv", "")),
        )
    for place in places:
        tool = f"{place}/driver/tools/upgrade-tool"
        if tree.exists(tool):
            args = (tool, "--device_index", "-1", "--component", "-1", "--version")
            answered = command("upgrade-tool", args, timeout=HAL_SECONDS)
            versions = sorted({component.version for component in vendor.components(answered.stdout)})
            if versions:
                return Firmware(path=tool, version=versions[0])
            if answered.returncode != NOT_CAPTURED:
                tree.note(tool, _("no version in its answer (exit status {code})", code=answered.returncode))
    return None


def kernel_modules(tree: Tree) -> tuple[str, ...]:
    text = tree.read("/proc/modules") or ""
    names = (line.split(" ", 1)[0] for line in text.splitlines())
    return tuple(sorted(name for name in names if _MODULES.match(name)))


def pci(tree: Tree) -> tuple[PciDevice, ...]:
    """Huawei's processing accelerators on the PCI bus, by /sys: no lspci is needed."""
    folder = "/sys/bus/pci/devices"
    devices = []
    for address in tree.names(folder):
        vendor_id = (tree.read(f"{folder}/{address}/vendor") or "").strip().lower()
        if vendor_id != HUAWEI_PCI_VENDOR:
            continue
        device = (tree.read(f"{folder}/{address}/device") or "").strip().lower()
        pci_class = (tree.read(f"{folder}/{address}/class") or "").strip().lower()
        if pci_class.startswith(_ACCELERATOR) or (not pci_class and device.startswith(("0xd1", "0xd5", "0xd8"))):
            devices.append(PciDevice(address, vendor_id, device, pci_class or None))
    return tuple(devices)


def run_npu_smi(tree: Tree, places: Sequence[str], command: Commands) -> NpuSmi:
    """Run `npu-smi info`: by PATH, then where drivers put it. A tool that hangs or fails is a fact, not an error."""
    programs = ["npu-smi", "/usr/local/bin/npu-smi", "/usr/local/sbin/npu-smi"]
    programs += [f"{place}/driver/tools/npu-smi" for place in places]
    answered = None
    for program in programs:
        if program != "npu-smi" and not tree.exists(program):
            continue
        answered = command("npu-smi-info", (program, "info"), timeout=NPU_SMI_SECONDS)
        if answered.returncode != NOT_FOUND or "loading shared libraries" in answered.stderr:
            break
    if answered is None or answered.returncode == NOT_CAPTURED:
        return NpuSmi(_("not captured"))
    if answered.returncode == TIMED_OUT:
        return NpuSmi(_("timeout"), TIMED_OUT, error=_("no answer in {seconds:g} s", seconds=NPU_SMI_SECONDS))
    printed = f"{answered.stdout}\n{answered.stderr}"
    if answered.returncode == NOT_FOUND and "loading shared libraries" not in printed:
        return NpuSmi(_("missing"), NOT_FOUND)
    reading = npu_smi.parse(printed)
    error = reading.error
    if reading.kind is npu_smi.Kind.TABLE:
        status: str = _("ok")
        for line in reading.unread:
            tree.note("npu-smi info", _("unread: {line}", line=line))
    elif reading.kind is npu_smi.Kind.FAILURE or answered.returncode != 0:
        status = "failed"  # as JSON has it: in Chinese the word is the verdict's
        error = error or next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), _("no output"))
    else:
        status, error = _("unreadable"), _("not read: neither a table nor a known message")
    return NpuSmi(
        status,
        answered.returncode,
        reading.tool_version,
        reading.driver_version,
        reading.chips,
        reading.processes,
        error,
    )


def holders(tree: Tree, answered: NpuSmi) -> tuple[Holder, ...]:
    """Who owns the devices that npu-smi calls taken, by the driver's table of mount namespaces."""
    if TAKEN not in (answered.error or ""):
        return ()
    owners: list[Holder] = []
    owns = False
    for line in (tree.read(NAMESPACES) or "").splitlines():
        if match := _NAMESPACE.match(line.strip()):
            owns = int(match[1]) < HOSTS_OWN
            owners += [Holder(int(match[2]))] if owns else []
        elif owns and len(ids := line.split()) == 2 and all(map(str.isdigit, ids)):
            owners[-1] = Holder(owners[-1].process, (*owners[-1].devices, int(ids[1])))
    return tuple(owners)


def count_by_hal(installed: Driver | None, command: Commands) -> Hal:
    """drvGetDevNum, as torch_npu counts devices, in a child process with a time limit."""
    names = ["libascend_hal.so"]
    if installed is not None:
        names += [posixpath.join(installed.path, "lib64", *sub, names[0]) for sub in (("driver",), ())]
    args = (sys.executable, "-I", "-S", "-c", _COUNT, *names)
    answered = command("hal-count", args, timeout=HAL_SECONDS)
    if answered.returncode == NOT_CAPTURED:
        return Hal(error=_("not captured"))
    if answered.returncode == TIMED_OUT:
        return Hal(error=_("no answer in {seconds:g} s", seconds=HAL_SECONDS))
    if answered.returncode < 0:
        return Hal(error=_("loading libascend_hal.so killed the process: signal {signal}", signal=-answered.returncode))
    try:
        value = elsewhere.parse_json(answered.stdout.strip().splitlines()[-1])
        count, *texts = value["count"], value["library"], value["error"]
        if not (count is None or type(count) is int) or not all(text is None or type(text) is str for text in texts):
            raise TypeError("not as it is written")  # a capture's, edited
        return Hal(count, *texts)
    except (ValueError, IndexError, KeyError, TypeError):
        last = next((line.strip() for line in reversed(answered.stderr.splitlines()) if line.strip()), _("no output"))
        return Hal(error=_("exit status {code}: {last}", code=answered.returncode, last=last))
