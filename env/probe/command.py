"""`python -m env probe`: the facts of this machine or of a captured one, as a page or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from env.errors import InputError
from env.probe import probe
from env.probe.host import Host, Toolkit
from env.stack import load_stack
from env.versions import base

GIB = 1 << 30


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m env probe",
        description="Collect the facts of an Ascend host: driver, CANN, devices, Python, packages. Nothing is changed.",
    )
    add_machine_options(parser)
    parser.add_argument("--json", action="store_true", help="print every fact as JSON")
    parser.add_argument("--indexes", action="store_true", help="also ask the configured package indexes for the pins")
    arguments = parser.parse_args(argv)
    host = read_machine(arguments)
    if arguments.indexes:
        from env.probe.indexes import ask_indexes  # only this needs pip and a network

        host = replace(host, indexes=ask_indexes(load_stack()))
    if arguments.json:
        print(json.dumps(asdict(host), indent=2, ensure_ascii=False))
    else:
        print("\n".join(page(host)))
    return 0


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which machine, and which of its Python environments."""
    parser.add_argument("--root", metavar="DIR", default="/", help="a captured tree instead of this machine")
    parser.add_argument(
        "--site",
        metavar="DIR",
        action="append",
        default=[],
        help="site-packages to look into (default: the built environment's, else the base interpreter's)",
    )


def read_machine(arguments: argparse.Namespace) -> Host:
    """Probe the machine that the options name.

    Raises:
        InputError: --root is no folder.
    """
    if not Path(arguments.root).is_dir():
        raise InputError(
            f"{arguments.root} is not a folder", why="--root takes the folder that a capture was unpacked to"
        )
    return probe(arguments.root, sites=arguments.site or None)


def page(host: Host) -> Iterator[str]:
    """The facts on one screen."""
    system = host.system
    where = f"container ({system.container})" if system.container else "host"
    yield f"machine   {system.machine or '?'}, {system.name or '?'}, kernel {system.kernel or '?'}, {where}"
    yield f"memory    {_gib(system.memory_available)} of {_gib(system.memory_total)} free; {system.cpus or '?'} CPUs"
    for disk in system.disks:
        yield f"disk      {disk.use}: {_gib(disk.free)} of {_gib(disk.total)} free ({disk.path})"
    yield f"python    {host.python.version or '?'}, {system.libc or 'libc ?'}"
    yield f"driver    {_driver(host)}"
    for toolkit in host.toolkits:
        yield f"CANN      {_toolkit(toolkit)}"
    if not host.toolkits:
        yield "CANN      none found"
    for nnal in host.nnal:
        yield f"NNAL      {nnal.release or '?'} ({', '.join(nnal.abis) or 'no ABI folder'}) {nnal.path}"
    yield from _devices(host)
    for name in ("torch", "torch-npu", "torchaudio", "transformers", "numpy"):
        if found := host.distribution(name):
            yield f"package   {name} {found.version}"
    yield f"packages  {len(host.distributions)} in {', '.join(host.sites) or 'no site-packages'}"
    for name, value in sorted(host.environ.items()):
        yield f"variable  {name}={value}"
    for answer in host.indexes:
        near = [version for version in answer.versions if base(version) == base(answer.pin)]
        said = answer.error or ("has it" if answer.found else f"lacks it; near: {', '.join(near) or 'nothing'}")
        yield f"index     {answer.index}: {answer.name}=={answer.pin}: {said}"
    for each in host.unread:
        yield f"unread    {each.where}: {each.why}"


def _driver(host: Host) -> str:
    if host.driver is None:
        return "none found"
    firmware = host.firmware
    shown = f"{firmware.release or '?'} ({firmware.version or '?'})" if firmware else "not found"
    return f"HDK {host.driver.release or '?'} in {host.driver.path}; firmware {shown}"


def _toolkit(toolkit: Toolkit) -> str:
    kernels = ", ".join(toolkit.kernels) or "no operator binaries"
    active = ", active" if toolkit.active else ""
    return f"{toolkit.release or '?'} ({toolkit.innerversion or 'build ?'}{active}) {toolkit.path}; {kernels}"


def _devices(host: Host) -> Iterator[str]:
    smi = host.npu_smi
    yield f"npu-smi   {smi.status}{f': {smi.error}' if smi.error else ''}; {len(smi.chips)} chips"
    for chip in smi.chips:
        memory = f"{chip.hbm_used_mb if chip.hbm_used_mb is not None else '?'} of {chip.hbm_total_mb or '?'} MB used"
        yield f"chip      {chip.npu}.{chip.chip} {chip.name or '?'}: {chip.health or '?'}, {memory}"
    counted = host.hal.error if host.hal.count is None else f"{host.hal.count} devices by {host.hal.library}"
    yield f"HAL       {counted}"
    closed = [node.path for node in host.nodes if node.openable is False]
    said = f", not openable: {', '.join(closed)}" if closed else ""
    yield f"nodes     {len(host.davinci)} devices, {len(host.nodes)} nodes{said}; PCI accelerators: {len(host.pci)}"
    yield f"modules   {len(host.modules)} of the driver loaded"


def _gib(value: int | None) -> str:
    return "?" if value is None else f"{value / GIB:.1f} GiB"
