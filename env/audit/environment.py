"""Rules on the interpreter and the packages: versions, wheels of another machine, shadowed and half-removed ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

from env.audit.registry import TORCH_NPU, Fields, NotApplicableError, Rule, Subject
from env.language import _, joined
from env.versions import parse

MODULE = "torch_npu"
SHOWN = 5  # places that could not be read, of which one finding tells
GLIBC = "2.28"  # manylinux_2_28: the wheels of torch 2.9 and of torch-npu 2.9


def python_version(subject: Subject) -> Iterator[Fields]:
    supported = subject.stack.pythons
    if subject.host.python.implementation != "CPython":
        yield {"python": f"{subject.host.python.implementation} {subject.python}", "supported": ", ".join(supported)}
    elif subject.python not in supported:
        yield {"python": subject.host.python.version, "supported": ", ".join(supported)}


def glibc(subject: Subject) -> Iterator[Fields]:
    name, _blank, version = (subject.host.system.libc or "").partition(" ")
    if name != "glibc" or not version:
        raise NotApplicableError(_("the C library is not known"))
    if parse(version) < parse(GLIBC):
        yield {"glibc": version, "needed": GLIBC, "system": subject.host.system.name or _("this system")}


def torch_npu_wheel(subject: Subject) -> Iterator[Fields]:
    """The tags of the installed wheel against the interpreter and the machine."""
    tags = subject.installed(TORCH_NPU).tags
    machine = subject.host.system.machine
    if not tags:
        raise NotApplicableError(_("the wheel's tags are not known"))
    interpreter = f"cp{subject.python.replace('.', '')}"
    parts = [tag.split("-") for tag in tags if tag.count("-") == 2]
    if not any(
        python == interpreter and (platform == "any" or not machine or platform.endswith(f"_{machine}"))
        for python, _, platform in parts
    ):
        yield {"tags": ", ".join(tags), "needed": f"{interpreter}, {machine}"}


def torch_npu_shadowed(subject: Subject) -> Iterator[Fields]:
    """An `import torch_npu` takes the first folder of that name: the working folder and PYTHONPATH come first."""
    installed = subject.installed(TORCH_NPU)
    folders = [module for module in subject.host.packages if module.name == MODULE]
    # A folder without __init__.py yields to any regular package behind it.
    taken = next((module for module in folders if module.regular), None)
    if taken is not None and taken.path != f"{installed.site.rstrip('/')}/{MODULE}":
        yield {"taken": taken.path, "installed": f"{installed.site}/{MODULE}"}


def torch_npu_half_removed(subject: Subject) -> Iterator[Fields]:
    host = subject.host
    metadata = [each for each in host.distributions if each.name == TORCH_NPU]
    in_sites = [each for each in host.packages if each.name == MODULE and each.path.rpartition("/")[0] in host.sites]
    traces = [path for path in host.leftovers if path.rpartition("/")[2].lower().startswith("~orch_npu")]
    signs = [_("{path} is left", path=path) for path in traces]
    if not metadata and not in_sites and not traces:
        raise NotApplicableError(_("no torch-npu"))
    if len({(each.site, each.version) for each in metadata}) > 1:
        signs.append(_("metadata of {versions}", versions=_both([each.version for each in metadata])))
    for each in metadata[:1]:
        if len(each.absent) > 3:
            names, more = ", ".join(each.absent[:3]), len(each.absent) - 3
            signs.append(_("gone: {names} and {more} more", names=names, more=more))
        elif each.absent:
            signs.append(_("gone: {names}", names=", ".join(each.absent)))
        elif not any(module.regular for module in in_sites):
            signs.append(_("no {file} in {site}", file=f"{MODULE}/__init__.py", site=each.site))
    if not metadata and in_sites:
        signs.append(_("{path} has no metadata", path=in_sites[0].path))
    if signs:
        yield {"signs": joined(*signs), "site": (metadata[0].site if metadata else host.sites[0])}


def _both(versions: Sequence[str]) -> str:
    return reduce(lambda head, version: _("{versions} and {version}", versions=head, version=version), versions)


def triton_overwritten(subject: Subject) -> Iterator[Fields]:
    """The packages triton and triton-ascend install into one folder: whichever came last is there."""
    ascend = subject.installed("triton-ascend")
    community = subject.host.distribution("triton")
    module = next((each for each in subject.host.packages if each.name == "triton"), None)
    lost = module is not None and "backends/ascend" not in module.parts
    if community is not None or lost:
        yield {
            "ascend": ascend.version,
            "triton": f"triton {community.version}" if community else _("another package"),
            "state": _("its Ascend backend is gone") if lost else _("its Ascend backend is still there"),
        }


def unread(subject: Subject) -> Iterator[Fields]:
    places = subject.host.unread
    if places:
        shown = [_("{where}: {why}", where=each.where, why=each.why) for each in places[:SHOWN]]
        if len(places) > SHOWN:
            shown.append(_("and {count} more", count=len(places) - SHOWN))
        yield {"files": joined(*shown), "first": places[0].where}


def not_ascend(subject: Subject) -> Iterator[Fields]:
    host = subject.host
    if host.ascend or subject.profile == "npu":
        raise NotApplicableError(_("an Ascend host, or one that is asked to be"))
    machine = host.system.machine or _("this machine")
    if host.system.container:
        machine = _("{machine} (a {container} container)", machine=machine, container=host.system.container)
    releases = ", ".join(toolkit.release or "?" for toolkit in host.toolkits)
    cann = _("; CANN {releases} is installed", releases=releases) if releases else ""
    yield {"profile": subject.profile, "machine": machine, "cann": cann}


RULES: dict[str, Rule] = {
    "python-version": python_version,
    "glibc": glibc,
    "torch-npu-wheel": torch_npu_wheel,
    "torch-npu-shadowed": torch_npu_shadowed,
    "torch-npu-half-removed": torch_npu_half_removed,
    "triton-overwritten": triton_overwritten,
    "unread": unread,
    "not-ascend": not_ascend,
}
