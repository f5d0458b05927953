"""Rules on CANN itself: is it whole, is it for this machine and chip, and does the environment lead to it."""

from __future__ import annotations

from collections.abc import Iterator

from env.audit.case import Case, Fields, NotApplicableError, rule
from env.probe.cann import FOLDERS
from env.probe.host import Toolkit
from env.versions import parse

HOME = "ASCEND_HOME_PATH"
OPP = "ASCEND_OPP_PATH"
ATB = "ATB_HOME_PATH"
TORCH_ABI = "cxx_abi_1"  # torch._C._GLIBCXX_USE_CXX11_ABI is True since torch 2.6's manylinux_2_28 wheels


@rule("cann-missing")
def cann_missing(case: Case) -> Iterator[Fields]:
    if not case.host.toolkits and not _hidden(case):
        yield {"series": case.stack.cann_series}


def _hidden(case: Case) -> list[str]:
    """Where a CANN may be that this user may not read."""
    folders = ("/cann", "/ascend-toolkit")
    return [each.where for each in case.host.unread if any(folder in each.where for folder in folders)]


@rule("cann-unreadable")
def cann_unreadable(case: Case) -> Iterator[Fields]:
    if case.host.toolkits:
        raise NotApplicableError("a CANN was read")
    if hidden := _hidden(case):
        yield {"places": ", ".join(hidden), "first": hidden[0]}


def _sourced(case: Case) -> Toolkit:
    """The toolkit that the environment leads to; only with ASCEND_HOME_PATH is there one."""
    if HOME not in case.host.environ:
        raise NotApplicableError(f"{HOME} is not set")
    return case.toolkit


@rule("cann-env-unset")
def cann_env_unset(case: Case) -> Iterator[Fields]:
    case.must_be_answered()
    if not case.host.toolkits:
        raise NotApplicableError("no CANN")
    if HOME not in case.host.environ:
        toolkit = case.host.toolkit or case.host.toolkits[0]
        yield {"toolkit": toolkit.path, "set_env": toolkit.set_env or f"{toolkit.path}/set_env.sh"}


@rule("cann-home-wrong")
def cann_home_wrong(case: Case) -> Iterator[Fields]:
    value = case.host.environ.get(HOME)
    if value is None or not case.host.toolkits:
        raise NotApplicableError(f"{HOME} is not set, or no CANN")
    if case.host.toolkit is None:
        scripts = [toolkit.set_env or f"{toolkit.path}/set_env.sh" for toolkit in case.host.toolkits]
        yield {"value": value, "toolkits": ", ".join(each.path for each in case.host.toolkits), "set_env": scripts[0]}


@rule("cann-incomplete")
def cann_incomplete(case: Case) -> Iterator[Fields]:
    toolkit = case.toolkit
    absent = [name for name in FOLDERS if name not in toolkit.folders]
    if absent:
        yield {"toolkit": toolkit.path, "absent": ", ".join(f"{name}/" for name in absent)}


@rule("cann-ops-missing")
def cann_ops_missing(case: Case) -> Iterator[Fields]:
    """The toolkit alone runs no operator: since 8.5 the binaries are a package of their own, as kernels were before."""
    toolkit = case.toolkit
    if "opp" not in toolkit.folders:
        raise NotApplicableError("no opp folder at all: see cann-incomplete")
    if not toolkit.kernels:
        yield {"toolkit": toolkit.path, "package": _ops_package(case)}


@rule("cann-ops-chip")
def cann_ops_chip(case: Case) -> Iterator[Fields]:
    toolkit = case.toolkit
    if not toolkit.kernels:
        raise NotApplicableError("no operator binaries at all: see cann-ops-missing")
    for kind in case.chip_kinds:
        if kind.kernels not in toolkit.kernels:
            yield {
                "chip": kind.name,
                "wanted": kind.kernels,
                "found": ", ".join(toolkit.kernels),
                "toolkit": toolkit.path,
                "package": _ops_package(case),
            }


def _ops_package(case: Case) -> str:
    """The name of the package with the operator binaries, as this CANN's generation calls it."""
    try:
        chip = case.chip_kinds[0].kernels.removeprefix("ascend")
    except NotApplicableError:
        chip = "<chip>"
    chip = "A3" if chip == "910_93" else chip
    release = case.toolkit.release
    if release is not None and parse(release) < parse("8.5"):
        return f"Ascend-cann-kernels-{chip}"
    return f"Ascend-cann-{chip}-ops"


@rule("cann-arch")
def cann_arch(case: Case) -> Iterator[Fields]:
    arch, machine = case.toolkit.arch, case.host.system.machine
    if not arch or not machine:
        raise NotApplicableError("the architecture of CANN or of the machine is not known")
    if arch != machine:
        yield {"arch": arch, "machine": machine, "toolkit": case.toolkit.path}


@rule("cann-opp-path")
def cann_opp_path(case: Case) -> Iterator[Fields]:
    """torch_npu refuses to start without ASCEND_OPP_PATH; one that leads to another CANN mixes two releases."""
    toolkit = _sourced(case)
    script = toolkit.set_env or f"{toolkit.path}/set_env.sh"
    leads = case.host.leads_to.get(OPP)
    if OPP not in case.host.environ:
        yield {"value": "not set", "toolkit": toolkit.path, "set_env": script}
    elif leads is not None and not _belongs(case, leads, toolkit):
        yield {"value": case.host.environ[OPP], "toolkit": toolkit.path, "set_env": script}


def _belongs(case: Case, path: str, toolkit: Toolkit) -> bool:
    """Whether a path lies in a toolkit, or beside the link folder that leads to it (ascend-toolkit/latest)."""
    home = case.host.leads_to.get(HOME, toolkit.path)
    return any(path == folder or path.startswith(f"{folder}/") for folder in (toolkit.path, home))


@rule("cann-loader")
def cann_loader(case: Case) -> Iterator[Fields]:
    """The first libascendcl.so of the loader path must be there, and of the CANN that ASCEND_HOME_PATH leads to."""
    toolkit = _sourced(case)
    script = toolkit.set_env or f"{toolkit.path}/set_env.sh"
    for name in ("libascendcl.so", "libhccl.so"):
        found = case.host.library(name)[:1]
        if not found:
            yield {"library": name, "found": "nowhere on LD_LIBRARY_PATH", "toolkit": toolkit.path, "set_env": script}
        elif not _belongs(case, found[0], toolkit):
            yield {"library": name, "found": f"in {found[0]}", "toolkit": toolkit.path, "set_env": script}


@rule("cann-several")
def cann_several(case: Case) -> Iterator[Fields]:
    toolkits = case.host.toolkits
    if len(toolkits) > 1:
        shown = [f"{each.release or '?'} in {each.path}{' (active)' if each.active else ''}" for each in toolkits]
        yield {"toolkits": "; ".join(shown)}


def _atb(case: Case) -> str:
    value = case.host.environ.get(ATB)
    if not value:
        raise NotApplicableError(f"{ATB} is not set")
    return value.rstrip("/")


@rule("nnal-abi")
def nnal_abi(case: Case) -> Iterator[Fields]:
    value = _atb(case)
    if not value.endswith(TORCH_ABI):
        yield {"value": value, "wanted": TORCH_ABI}


@rule("nnal-release")
def nnal_release(case: Case) -> Iterator[Fields]:
    value = case.host.leads_to.get(ATB, _atb(case))
    for nnal in case.host.nnal:
        if value.startswith(f"{nnal.path}/") and nnal.release and parse(nnal.release) != parse(case.cann):
            yield {"nnal": nnal.build or nnal.release, "cann": case.cann, "path": nnal.path}
