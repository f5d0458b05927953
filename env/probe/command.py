"""`python -m env probe`: the facts of this machine or of a captured one, as a page or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from env.arguments import Parser
from env.errors import InputError
from env.language import Message, _, translate
from env.npu_smi import Chip
from env.probe import probe
from env.probe.host import Host, IndexAnswer, System, Toolkit
from env.stack import load_stack
from env.versions import base

GIB = 1 << 30
PACKAGES = ("torch", "torch-npu", "torchaudio", "transformers", "numpy")


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env probe",
        description=_(
            "Collect the facts of an Ascend host: driver, CANN, devices, Python, packages. Nothing is changed."
        ),
    )
    add_machine_options(parser)
    parser.add_argument("--json", action="store_true", help=_("print every fact as JSON"))
    parser.add_argument(
        "--indexes", action="store_true", help=_("also ask the configured package indexes for the pins")
    )
    arguments = parser.parse_args(argv)
    host = read_machine(arguments)
    if arguments.indexes:
        from env.probe.indexes import ask_indexes  # only this needs pip and a network

        host = replace(host, indexes=ask_indexes(load_stack()))
    if arguments.json:
        print(json.dumps(asdict(host), indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(translate, page(host))))
    return 0


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which machine, and which of its Python environments."""
    parser.add_argument("--root", metavar="DIR", default="/", help=_("a captured tree instead of this machine"))
    parser.add_argument(
        "--site",
        metavar="DIR",
        action="append",
        default=[],
        help=_("site-packages to look into (default: the built environment's, else the base interpreter's)"),
    )


def read_machine(arguments: argparse.Namespace) -> Host:
    """Probe the machine that the options name.

    Raises:
        InputError: --root is no folder.
    """
    if not Path(arguments.root).is_dir():
        raise InputError(
            _("{path} is not a folder", path=arguments.root),
            why=_("--root takes the folder that a capture was unpacked to"),
        )
    return probe(arguments.root, sites=arguments.site or None)


def page(host: Host) -> Iterator[Message]:
    """The facts on one screen, a message a line; the labels are columns of ten."""
    yield from _system(host.system)
    yield _("python    {version}, {libc}", version=host.python.version or "?", libc=host.system.libc or _("libc ?"))
    yield _("driver    {driver}", driver=_driver(host))
    for toolkit in host.toolkits:
        yield _("CANN      {toolkit}", toolkit=_toolkit(toolkit))
    if not host.toolkits:
        yield _("CANN      none found")
    for nnal in host.nnal:
        abis = ", ".join(nnal.abis) or _("no ABI folder")
        yield _("NNAL      {release} ({abis}) {path}", release=nnal.release or "?", abis=abis, path=nnal.path)
    yield from _devices(host)
    for name in PACKAGES:
        if package := host.distribution(name):
            yield _("package   {name} {version}", name=name, version=package.version)
    sites = ", ".join(host.sites) or _("no site-packages")
    yield _("packages  {count} in {sites}", count=len(host.distributions), sites=sites)
    for name, value in sorted(host.environ.items()):
        yield _("variable  {name}={value}", name=name, value=value)
    for answer in host.indexes:
        yield _(
            "index     {index}: {name}=={pin}: {answer}",
            index=answer.index,
            name=answer.name,
            pin=answer.pin,
            answer=_answer(answer),
        )
    for each in host.unread:
        yield _("unread    {where}: {why}", where=each.where, why=each.why)


def _system(system: System) -> Iterator[Message]:
    names = {"machine": system.machine or "?", "name": system.name or "?", "kernel": system.kernel or "?"}
    if system.container:
        yield _(
            "machine   {machine}, {name}, kernel {kernel}, container ({container})", container=system.container, **names
        )
    else:
        yield _("machine   {machine}, {name}, kernel {kernel}, host", **names)
    yield _(
        "memory    {available} of {total} free; {cpus} CPUs",
        available=_gib(system.memory_available),
        total=_gib(system.memory_total),
        cpus=system.cpus or "?",
    )
    for disk in system.disks:
        yield _(
            "disk      {use}: {free} of {total} free ({path})",
            use=Message(disk.use),
            free=_gib(disk.free),
            total=_gib(disk.total),
            path=disk.path,
        )


def _driver(host: Host) -> Message:
    if host.driver is None:
        return _("none found")
    driver, firmware = host.driver, host.firmware
    return _(
        "HDK {release} in {path}; firmware {firmware}",
        release=driver.release or "?",
        path=driver.path,
        firmware=f"{firmware.release or '?'} ({firmware.version or '?'})" if firmware else _("not found"),
    )


def _toolkit(toolkit: Toolkit) -> Message:
    fields = {
        "release": toolkit.release or "?",
        "build": toolkit.innerversion or _("build ?"),
        "path": toolkit.path,
        "kernels": ", ".join(toolkit.kernels) or _("no operator binaries"),
    }
    if toolkit.active:
        return _("{release} ({build}, active) {path}; {kernels}", **fields)
    return _("{release} ({build}) {path}; {kernels}", **fields)


def _devices(host: Host) -> Iterator[Message]:
    smi = host.npu_smi
    if smi.error:
        yield _("npu-smi   {status}: {error}; {count} chips", status=smi.status, error=smi.error, count=len(smi.chips))
    else:
        yield _("npu-smi   {status}; {count} chips", status=smi.status, count=len(smi.chips))
    yield from map(_chip, smi.chips)
    if host.hal.count is None:
        yield _("HAL       {error}", error=host.hal.error)
    else:
        yield _("HAL       {count} devices by {library}", count=host.hal.count, library=host.hal.library)
    counts = {"devices": len(host.davinci), "nodes": len(host.nodes), "accelerators": len(host.pci)}
    closed = [node.path for node in host.nodes if node.openable is False]
    if closed:
        yield _(
            "nodes     {devices} devices, {nodes} nodes, not openable: {closed}; PCI accelerators: {accelerators}",
            closed=", ".join(closed),
            **counts,
        )
    else:
        yield _("nodes     {devices} devices, {nodes} nodes; PCI accelerators: {accelerators}", **counts)
    yield _("modules   {count} of the driver loaded", count=len(host.modules))


def _chip(chip: Chip) -> Message:
    return _(
        "chip      {npu}.{chip} {name}: {health}, {used} of {total} MB used",
        npu=chip.npu,
        chip=chip.chip,
        name=chip.name or "?",
        health=chip.health or "?",
        used="?" if chip.hbm_used_mb is None else chip.hbm_used_mb,
        total=chip.hbm_total_mb or "?",
    )


def _answer(answer: IndexAnswer) -> str:
    if answer.error:
        return answer.error
    if answer.found:
        return _("has it")
    near = [version for version in answer.versions if base(version) == base(answer.pin)]
    return _("lacks it; near: {versions}", versions=", ".join(near) or _("nothing"))


def _gib(value: int | None) -> str:
    return "?" if value is None else f"{value / GIB:.1f} GiB"
