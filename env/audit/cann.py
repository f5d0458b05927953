"""Rules on CANN itself: is it whole, is it for this machine and chip, and does the environment lead to it."""

from __future__ import annotations

from collections.abc import Iterator

from env.audit.registry import Fields, NotApplicableError, Rule, Subject
from env.language import Message, _, joined
from env.probe.cann import FOLDERS
from env.probe.host import Toolkit
from env.versions import parse

HOME = "ASCEND_HOME_PATH"
OPP = "ASCEND_OPP_PATH"
ATB = "ATB_HOME_PATH"
UNKNOWN_PACKAGES = ("Ascend-cann-<chip>-ops", "Ascend-cann-kernels-<chip>")  # since CANN 8.5, and before
TORCH_ABI = "cxx_abi_1"  # torch._C._GLIBCXX_USE_CXX11_ABI is True since torch 2.6's manylinux_2_28 wheels


def cann_missing(subject: Subject) -> Iterator[Fields]:
    if not subject.host.toolkits and not _hidden(subject):
        yield {"series": subject.stack.cann_series}


def _hidden(subject: Subject) -> list[str]:
    """Where a CANN may be that this user may not read."""
    folders = ("/cann", "/ascend-toolkit")
    return [each.where for each in subject.host.unread if any(folder in each.where for folder in folders)]


def cann_unreadable(subject: Subject) -> Iterator[Fields]:
    if subject.host.toolkits:
        raise NotApplicableError(_("a CANN was read"))
    if hidden := _hidden(subject):
        yield {"places": ", ".join(hidden), "first": hidden[0]}


def _sourced(subject: Subject) -> Toolkit:
    """The toolkit that the environment leads to; only with ASCEND_HOME_PATH is there one."""
    if HOME not in subject.host.environ:
        raise NotApplicableError(_("{variable} is not set", variable=HOME))
    return subject.toolkit


def cann_env_unset(subject: Subject) -> Iterator[Fields]:
    subject.must_be_answered()
    if not subject.host.toolkits:
        raise NotApplicableError(_("no CANN"))
    if HOME not in subject.host.environ:
        toolkit = subject.host.toolkit or subject.host.toolkits[0]
        yield {"toolkit": toolkit.path, "set_env": toolkit.set_env or f"{toolkit.path}/set_env.sh"}


def cann_home_wrong(subject: Subject) -> Iterator[Fields]:
    value = subject.host.environ.get(HOME)
    if value is None or not subject.host.toolkits:
        raise NotApplicableError(_("{variable} is not set, or no CANN", variable=HOME))
    if subject.host.toolkit is None:
        scripts = [toolkit.set_env or f"{toolkit.path}/set_env.sh" for toolkit in subject.host.toolkits]
        yield {
            "value": value,
            "toolkits": ", ".join(each.path for each in subject.host.toolkits),
            "set_env": scripts[0],
        }


def cann_incomplete(subject: Subject) -> Iterator[Fields]:
    toolkit = subject.toolkit
    absent = [name for name in FOLDERS if name not in toolkit.folders]
    if absent:
        yield {"toolkit": toolkit.path, "absent": ", ".join(f"{name}/" for name in absent)}


def cann_ops_missing(subject: Subject) -> Iterator[Fields]:
    """The toolkit alone runs no operator: since 8.5 the binaries are a package of their own, as kernels were before."""
    toolkit = subject.toolkit
    if "opp" not in toolkit.folders:
        raise NotApplicableError(_("no opp folder at all: see cann-incomplete"))
    if not toolkit.kernels:
        yield {"toolkit": toolkit.path, "package": _ops_package(subject)}


def cann_ops_chip(subject: Subject) -> Iterator[Fields]:
    toolkit = subject.toolkit
    if not toolkit.kernels:
        raise NotApplicableError(_("no operator binaries at all: see cann-ops-missing"))
    for kind in subject.chip_kinds:
        if kind.kernels not in toolkit.kernels:
            yield {
                "chip": kind.name,
                "needed": kind.kernels,
                "present": ", ".join(toolkit.kernels),
                "toolkit": toolkit.path,
                "package": _ops_package(subject),
            }


def _ops_package(subject: Subject) -> str:
    """The name of the package with the operator binaries, as this CANN's generation calls it."""
    try:
        packages = subject.chip_kinds[0].package
    except NotApplicableError:
        packages = ()
    new, old = packages if len(packages) == 2 else (*packages[:1], *UNKNOWN_PACKAGES[len(packages) :])
    release = subject.toolkit.release
    return old if release is not None and parse(release) < parse("8.5") else new


def cann_arch(subject: Subject) -> Iterator[Fields]:
    arch, machine = subject.toolkit.arch, subject.host.system.machine
    if not arch or not machine:
        raise NotApplicableError(_("the architecture of CANN or of the machine is not known"))
    if arch != machine:
        yield {"arch": arch, "machine": machine, "toolkit": subject.toolkit.path}


def cann_opp_path(subject: Subject) -> Iterator[Fields]:
    """torch_npu refuses to start without ASCEND_OPP_PATH; one that leads to another CANN mixes two releases."""
    toolkit = _sourced(subject)
    script = toolkit.set_env or f"{toolkit.path}/set_env.sh"
    leads = subject.host.leads_to.get(OPP)
    if OPP not in subject.host.environ:
        yield {"value": _("not set"), "toolkit": toolkit.path, "set_env": script}
    elif leads is not None and not _belongs(subject, leads, toolkit):
        yield {"value": subject.host.environ[OPP], "toolkit": toolkit.path, "set_env": script}


def _belongs(subject: Subject, path: str, toolkit: Toolkit) -> bool:
    """Whether a path lies in a toolkit, or beside the link folder that leads to it (ascend-toolkit/latest)."""
    home = subject.host.leads_to.get(HOME, toolkit.path)
    return any(path == folder or path.startswith(f"{folder}/") for folder in (toolkit.path, home))


def cann_loader(subject: Subject) -> Iterator[Fields]:
    """The first libascendcl.so of the loader path must be there, and of the CANN that ASCEND_HOME_PATH leads to."""
    toolkit = _sourced(subject)
    script = toolkit.set_env or f"{toolkit.path}/set_env.sh"
    for name in ("libascendcl.so", "libhccl.so"):
        first = next(iter(subject.host.library(name)), None)
        if first is None:
            where = _("nowhere on LD_LIBRARY_PATH")
        elif not _belongs(subject, first, toolkit):
            where = _("in {path}", path=first)
        else:
            continue
        yield {"library": name, "where": where, "toolkit": toolkit.path, "set_env": script}


def cann_several(subject: Subject) -> Iterator[Fields]:
    toolkits = subject.host.toolkits
    if len(toolkits) > 1:
        yield {"toolkits": joined(*(_placed(toolkit) for toolkit in toolkits))}


def _placed(toolkit: Toolkit) -> Message:
    release = toolkit.release or "?"
    if toolkit.active:
        return _("{release} in {path} (active)", release=release, path=toolkit.path)
    return _("{release} in {path}", release=release, path=toolkit.path)


def _atb(subject: Subject) -> str:
    value = subject.host.environ.get(ATB)
    if not value:
        raise NotApplicableError(_("{variable} is not set", variable=ATB))
    return value.rstrip("/")


def nnal_abi(subject: Subject) -> Iterator[Fields]:
    value = _atb(subject)
    if not value.endswith(TORCH_ABI):
        yield {"value": value, "build": TORCH_ABI}


def nnal_release(subject: Subject) -> Iterator[Fields]:
    value = subject.host.leads_to.get(ATB, _atb(subject))
    for nnal in subject.host.nnal:
        if value.startswith(f"{nnal.path}/") and nnal.release and parse(nnal.release) != parse(subject.cann):
            yield {"nnal": nnal.build or nnal.release, "cann": subject.cann, "path": nnal.path}


RULES: dict[str, Rule] = {
    "cann-missing": cann_missing,
    "cann-unreadable": cann_unreadable,
    "cann-env-unset": cann_env_unset,
    "cann-home-wrong": cann_home_wrong,
    "cann-incomplete": cann_incomplete,
    "cann-ops-missing": cann_ops_missing,
    "cann-ops-chip": cann_ops_chip,
    "cann-arch": cann_arch,
    "cann-opp-path": cann_opp_path,
    "cann-loader": cann_loader,
    "cann-several": cann_several,
    "nnal-abi": nnal_abi,
    "nnal-release": nnal_release,
}
