"""Whole machines in the vendor's own layouts, made from one TOML each: tests/data/machines/<name>.toml.

A machine is written to a folder as a capture would hold it, and read by the same `--root` path. `base` names another
machine that it differs from, so that a file tells its fault and little else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from env.toml import load_toml

MACHINES = Path(__file__).parents[1] / "data" / "machines"
ASCEND = "/usr/local/Ascend"
KERNELS = "opp/built-in/op_impl/ai_core/tbe/kernel"
GIB = 1 << 30
SITE = "/opt/granite/.venvs/npu/lib/python3.11/site-packages"


def names() -> list[str]:
    return sorted(path.stem for path in MACHINES.glob("*.toml"))


def describe(name: str) -> dict[str, Any]:
    """The machine's table, laid over the one that its `base` names."""
    table = load_toml(MACHINES / f"{name}.toml")
    if "base" not in table:
        return table
    below = describe(table["base"])
    return _over({key: value for key, value in below.items() if key not in ("expected", "said")}, table)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`. A table that says `instead = true` replaces; "absent" as a value removes."""
    result = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict) and not value.get("instead"):
            result[key] = _over(result[key], value)
        else:
            result[key] = _over({}, value) if isinstance(value, dict) else value
    return {key: value for key, value in result.items() if key != "instead" and value != "absent"}


def build(name: str, root: Path) -> dict[str, Any]:
    """Write a machine under `root` and return its table."""
    table = describe(name)
    disk = Folder(root)
    _system(disk, table)
    _driver(disk, table)
    for cann in table.get("cann", {}).values():
        _cann(disk, cann)
    _nnal(disk, table)
    _packages(disk, table)
    for path, text in table.get("files", {}).items():
        disk.write(path, text)
    for path, target in table.get("links", {}).items():
        disk.link(path, target)
    _capture(disk, table)
    return table


class Folder:
    """A machine's files under a folder of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> None:
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text, encoding="utf-8")

    def folder(self, path: str) -> None:
        (self.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def link(self, path: str, target: str) -> None:
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.symlink_to(target)


def _assignments(table: Mapping[str, Any]) -> str:
    return "".join(f"{key}={value}\n" for key, value in table.items())


def _system(disk: Folder, table: Mapping[str, Any]) -> None:
    system = table["system"]
    disk.write("/etc/os-release", f'NAME="{system["name"].split()[0]}"\nPRETTY_NAME="{system["name"]}"\n')
    total, free = int(system["memory-gib"] * GIB) // 1024, int(system["available-gib"] * GIB) // 1024
    disk.write("/proc/meminfo", f"MemTotal:       {total} kB\nMemFree:        {free} kB\nMemAvailable:   {free} kB\n")
    if limit := system.get("memory-limit-gib"):
        disk.write("/sys/fs/cgroup/memory.max", f"{int(limit * GIB)}\n")
        disk.write("/sys/fs/cgroup/memory.current", f"{GIB}\n")
    if system.get("container") == "docker":
        disk.write("/.dockerenv")
    if "modules" in table:
        disk.write("/proc/modules", "".join(f"{name} 65536 1 - Live 0x0 (O)\n" for name in table["modules"]["names"]))
    for kind in table.get("pci", {}).values():
        for address in kind["addresses"]:
            # As /sys has it: the bus lists links to the devices' own folders.
            real = f"/sys/devices/pci0000:00/{address}"
            disk.write(f"{real}/vendor", f"{kind['vendor']}\n")
            disk.write(f"{real}/device", f"{kind['device']}\n")
            disk.write(f"{real}/class", f"{kind['class']}\n")
            disk.link(f"/sys/bus/pci/devices/{address}", f"../../../devices/pci0000:00/{address}")


def _driver(disk: Folder, table: Mapping[str, Any]) -> None:
    if record := table.get("install"):
        disk.write("/etc/ascend_install.info", _assignments(record))
    root = table.get("install", {}).get("Driver_Install_Path_Param", ASCEND)
    if driver := table.get("driver"):
        if "version" in driver:
            disk.write(f"{root}/driver/version.info", _assignments(driver["version"]))
        if driver.get("libraries", True):
            disk.write(f"{root}/driver/lib64/driver/libascend_hal.so")
    if firmware := table.get("firmware"):
        disk.write(f"{root}/firmware/version.info", _assignments(firmware))


def _cann(disk: Folder, cann: Mapping[str, Any]) -> None:
    release, arch = cann["version"], cann["arch"]
    new = cann["layout"] == "new"
    home = f"{ASCEND}/cann-{release}" if new else f"{ASCEND}/ascend-toolkit/{release}"
    record = {
        "package_name": "Ascend-cann-toolkit",
        "version": release,
        "innerversion": cann["innerversion"],
        "compatible_version": cann["compatible"],
        "arch": arch,
        "os": "linux",
        "path": home if new else f"{home}/{arch}-linux",
    }
    disk.write(f"{home}/{arch}-linux/ascend_toolkit_install.info", _assignments(record))
    for part in cann.get("parts", ("runtime", "compiler", "opp", "toolkit")):
        disk.write(f"{home}/{part}/version.info", f"Version={release}.1.220\nversion_dir={release}\n")
    for library in ("libascendcl.so", "libhccl.so"):
        disk.write(f"{home}/lib64/{library}")
    disk.write(f"{home}/devlib/libascend_hal.so")
    for chip in cann.get("kernels", ()):
        disk.write(f"{home}/{KERNELS}/{chip}/ops_nn/add.json", "{}")
    for chip in cann.get("toolkit-only-kernels", ()):
        disk.folder(f"{home}/{KERNELS}/{chip}/ops_oam")
    if new:
        disk.write(f"{home}/set_env.sh")
        if cann.get("linked", True):
            disk.link(f"{ASCEND}/cann", f"cann-{release}")
            disk.link(f"{ASCEND}/ascend-toolkit/latest", f"../cann-{release}")
    else:
        disk.write(f"{ASCEND}/ascend-toolkit/set_env.sh")
        if cann.get("linked", True):
            for name in (f"{arch}-linux", "lib64", *cann.get("parts", ("runtime", "compiler", "opp", "toolkit"))):
                disk.link(f"{ASCEND}/ascend-toolkit/latest/{name}", f"../{release}/{name}")


def _nnal(disk: Folder, table: Mapping[str, Any]) -> None:
    if nnal := table.get("nnal"):
        release = nnal["release"]
        text = (
            f"    Ascend-cann-atb : {release}\n    Ascend-cann-atb Version : {release}.B120\n    Platform : aarch64\n"
        )
        disk.write(f"{ASCEND}/nnal/atb/{release}/version.info", text)
        for abi in ("cxx_abi_0", "cxx_abi_1"):
            disk.write(f"{ASCEND}/nnal/atb/{release}/atb/{abi}/lib/libatb.so")
        disk.link(f"{ASCEND}/nnal/atb/latest", release)


def _packages(disk: Folder, table: Mapping[str, Any]) -> None:
    """Installed distributions: name = version, or a table with version, requires, tag, and files that are gone."""
    for name, entry in table.get("packages", {}).items():
        package = entry if isinstance(entry, dict) else {"version": entry}
        module = name.replace("-", "_")
        folder = f"{SITE}/{module}-{package['version']}.dist-info"
        headers = [f"Name: {name}", f"Version: {package['version']}"]
        headers += [f"Requires-Dist: {each}" for each in package.get("requires", ())]
        disk.write(f"{folder}/METADATA", "Metadata-Version: 2.1\n" + "\n".join(headers) + "\n\nDescription.\n")
        tag = package.get("tag", "py3-none-any")
        disk.write(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        files = [f"{module}/__init__.py", f"{module}/version.py", *package.get("files", ())]
        gone = package.get("gone", ())
        for path in files:
            if path not in gone:
                disk.write(f"{SITE}/{path}")
        disk.write(f"{folder}/RECORD", "".join(f"{path},,\n" for path in files))


def _capture(disk: Folder, table: Mapping[str, Any]) -> None:
    """The manifest, and what the commands printed, as `python -m env capture` writes them."""
    system, python = table["system"], table["python"]["version"]
    commands = {}
    if smi := table.get("npu-smi"):
        commands["npu-smi-info"] = smi.get("returncode", 0)
        disk.write("/.capture/commands/npu-smi-info.txt", smi["text"] if "text" in smi else npu_smi_table(smi))
        if "stderr" in smi:
            disk.write("/.capture/commands/npu-smi-info.err.txt", smi["stderr"])
    if hal := table.get("hal"):
        commands["hal-count"] = hal.get("returncode", 0)
        answer = {"count": hal.get("count"), "library": hal.get("library"), "error": hal.get("error")}
        disk.write("/.capture/commands/hal-count.txt", json.dumps(answer) + "\n")
    manifest = {
        "schema": 1,
        "machine": system["machine"],
        "kernel": system["kernel"],
        "libc": system.get("libc", "glibc 2.35"),
        "cpus": 192,
        "python": {"version": python, "implementation": "CPython", "executable": "/opt/granite/.venvs/npu/bin/python"},
        "user": table.get("user", {"uid": 0, "gids": [0], "groups": []}),
        "environ": table.get("environ", {}),
        "kubernetes": False,
        "home": "/root",
        "folder": table.get("folder", "/opt/granite"),
        "sites": [SITE],
        "nodes": _nodes(table),
        "unread": table.get("unread", []),
        "disks": [
            {"use": "environments", "path": "/opt/granite", "total": 900 * GIB, "free": int(system["disk-gib"] * GIB)}
        ],
        "commands": commands,
    }
    disk.write("/.capture/manifest.json", json.dumps(manifest, indent=2))


def _nodes(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    nodes = table.get("nodes")
    if not nodes:
        return []
    paths = [f"/dev/davinci{number}" for number in nodes["devices"]] + [f"/dev/{name}" for name in nodes["shared"]]
    owner = {"mode": 0o660, "uid": 1000, "gid": 1000, "openable": nodes.get("openable", True)}
    return [{"path": path, **owner} for path in sorted(paths)]


def npu_smi_table(smi: Mapping[str, Any]) -> str:
    """The table of `npu-smi info` for 910-class boards (98 columns) or 310-class ones (106), from a list of chips."""
    wide = smi.get("class", "910") == "310"
    widths = first, second, third = (31, 17, 54) if wide else (27, 15, 52)
    whole = first + second + third + 2

    def row(*cells: str) -> str:
        return "|" + "|".join(f" {cell:<{width - 1}}" for cell, width in zip(cells, widths, strict=True)) + "|"

    border = f"+{'-' * first}+{'-' * second}+{'-' * third}+"
    thick = border.replace("-", "=")
    version = smi["version"]
    lines = [f"+{'-' * whole}+", f"| {f'npu-smi {version}':<33}{f'Version: {version}':<{whole - 34}}|", border]
    memory = "Memory-Usage(MB)" if wide else "Memory-Usage(MB)  HBM-Usage(MB)"
    lines += [row("NPU   Name", "Health", "Power(W)    Temp(C)           Hugepages-Usage(page)")]
    lines += [row("Chip  Device" if wide else "Chip  Phy-ID", "Bus-Id", f"AICore(%)   {memory}"), thick]
    for chip in smi["chips"]:
        usage = f"{chip['used']:<5}/ {chip['total']}"
        lines += [
            row(f"{chip['npu']:<6}{chip['name']}", chip["health"], f"{chip['power']:<12}45                0    / 0")
        ]
        figures = f"0           {usage}" if wide else f"0           0    / 0          {usage}"
        lines += [row(f"{chip['chip']:<6}{chip['phy']}", chip["bus"], figures), thick]
    heads = ("NPU     Chip", "Process id", "Process name             | Process memory(MB)      ")
    lines += [border, row(*heads), thick]
    for process in smi.get("processes", ()):
        cells = f"{process['name']:<25}| {process['memory']:<24}"
        lines += [row(f"{process['npu']:<8}{process['chip']}", str(process["pid"]), cells), thick]
    if not smi.get("processes"):
        lines += [f"| {'No running processes found in NPU 0':<{whole - 1}}|", thick]
    return "\n".join(lines) + "\n"
