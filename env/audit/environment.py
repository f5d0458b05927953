"""Rules on the interpreter and the packages: versions, wheels of another machine, shadowed and half-removed ones."""

from __future__ import annotations

from collections.abc import Iterator

from env.audit.case import TORCH_NPU, Case, Fields, NotApplicableError, rule
from env.versions import parse

MODULE = "torch_npu"
GLIBC = "2.28"  # manylinux_2_28: the wheels of torch 2.9 and of torch-npu 2.9


@rule("python-version")
def python_version(case: Case) -> Iterator[Fields]:
    supported = case.stack.pythons
    if case.host.python.implementation != "CPython":
        yield {"python": f"{case.host.python.implementation} {case.python}", "supported": ", ".join(supported)}
    elif case.python not in supported:
        yield {"python": case.host.python.version, "supported": ", ".join(supported)}


@rule("glibc")
def glibc(case: Case) -> Iterator[Fields]:
    name, _, version = (case.host.system.libc or "").partition(" ")
    if name != "glibc" or not version:
        raise NotApplicableError("the C library is not known")
    if parse(version) < parse(GLIBC):
        yield {"glibc": version, "wanted": GLIBC, "system": case.host.system.name or "this system"}


@rule("torch-npu-wheel")
def torch_npu_wheel(case: Case) -> Iterator[Fields]:
    """The tags of the installed wheel against the interpreter and the machine."""
    tags = case.installed(TORCH_NPU).tags
    machine = case.host.system.machine
    if not tags:
        raise NotApplicableError("the wheel's tags are not known")
    interpreter = f"cp{case.python.replace('.', '')}"
    parts = [tag.split("-") for tag in tags if tag.count("-") == 2]
    if not any(
        python == interpreter and (platform == "any" or not machine or platform.endswith(f"_{machine}"))
        for python, _, platform in parts
    ):
        yield {"tags": ", ".join(tags), "wanted": f"{interpreter}, {machine}"}


@rule("torch-npu-shadowed")
def torch_npu_shadowed(case: Case) -> Iterator[Fields]:
    """An `import torch_npu` takes the first folder of that name: the working folder and PYTHONPATH come first."""
    installed = case.installed(TORCH_NPU)
    folders = [module for module in case.host.packages if module.name == MODULE]
    # A folder without __init__.py yields to any regular package behind it.
    taken = next((module for module in folders if module.regular), None)
    if taken is not None and taken.path != f"{installed.site.rstrip('/')}/{MODULE}":
        yield {"taken": taken.path, "installed": f"{installed.site}/{MODULE}"}


@rule("torch-npu-half-removed")
def torch_npu_half_removed(case: Case) -> Iterator[Fields]:
    host = case.host
    found = [each for each in host.distributions if each.name == TORCH_NPU]
    in_sites = [each for each in host.packages if each.name == MODULE and each.path.rpartition("/")[0] in host.sites]
    traces = [path for path in host.leftovers if path.rpartition("/")[2].lower().startswith("~orch_npu")]
    signs = [f"{path} is left" for path in traces]
    if not found and not in_sites and not traces:
        raise NotApplicableError("no torch-npu")
    if len({(each.site, each.version) for each in found}) > 1:
        signs.append("metadata of " + " and ".join(each.version for each in found))
    for each in found[:1]:
        if each.absent:
            more = f" and {len(each.absent) - 3} more" if len(each.absent) > 3 else ""
            signs.append(f"gone: {', '.join(each.absent[:3])}{more}")
        elif not any(module.regular for module in in_sites):
            signs.append(f"no {MODULE}/__init__.py in {each.site}")
    if not found and in_sites:
        signs.append(f"{in_sites[0].path} has no metadata")
    if signs:
        yield {"signs": "; ".join(signs), "site": (found[0].site if found else host.sites[0])}


@rule("triton-overwritten")
def triton_overwritten(case: Case) -> Iterator[Fields]:
    """The packages triton and triton-ascend install into one folder: whichever came last is there."""
    ascend = case.installed("triton-ascend")
    community = case.host.distribution("triton")
    module = next((each for each in case.host.packages if each.name == "triton"), None)
    lost = module is not None and "backends/ascend" not in module.parts
    if community is not None or lost:
        yield {
            "ascend": ascend.version,
            "triton": f"triton {community.version}" if community else "another package",
            "state": "its Ascend backend is gone" if lost else "its Ascend backend is still there",
        }


@rule("unread")
def unread(case: Case) -> Iterator[Fields]:
    if case.host.unread:
        shown = [f"{each.where}: {each.why}" for each in case.host.unread[:5]]
        more = f"; and {len(case.host.unread) - 5} more" if len(case.host.unread) > 5 else ""
        yield {"files": "; ".join(shown) + more, "first": case.host.unread[0].where}


@rule("not-ascend")
def not_ascend(case: Case) -> Iterator[Fields]:
    host = case.host
    if host.ascend or case.profile == "npu":
        raise NotApplicableError("an Ascend host, or one that is asked to be")
    where = f" (a {host.system.container} container)" if host.system.container else ""
    releases = ", ".join(toolkit.release or "?" for toolkit in host.toolkits)
    yield {
        "profile": case.profile,
        "machine": f"{host.system.machine or 'this machine'}{where}",
        "cann": f"; CANN {releases} is installed" if releases else "",
    }
