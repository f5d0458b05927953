"""What must be right before setup downloads anything."""

from __future__ import annotations

from dataclasses import replace

from env.audit import Finding, judge, texts
from env.audit.case import TORCH_NPU, Case
from env.errors import BundleError, HostError, PythonVersionError, StorageError
from env.probe.host import Host
from env.stack import Stack

_ERRORS: dict[str, type[BundleError]] = {"host": HostError, "python": PythonVersionError, "storage": StorageError}


def preflight(host: Host, stack: Stack, device: str, profile: str, *, torch_npu: str | None = None) -> None:
    """Let setup go on, or stop it with everything that is wrong at once.

    `device` is what the user asked for ("auto", "cpu", "npu:0", ...), `profile` the environment that will be built,
    `torch_npu` the version that will be installed where it is not the declared one. What is installed now is not
    judged: setup builds an environment of its own.

    Raises:
        HostError: the driver, CANN or the system is missing something. It leads where several kinds are wrong.
        PythonVersionError: the interpreter is outside the declared stack.
        StorageError: the disk is too small.
    """
    kinds = texts()
    if torch_npu is not None:
        stack = replace(stack, packages=stack.packages | {TORCH_NPU: torch_npu})
    host = replace(host, distributions=(), packages=(), leftovers=())
    stopping = [
        finding
        for judgement in judge(Case(host, stack, profile))
        for finding in judgement.findings
        if kinds[finding.id].stops is not None and finding.severity == "error"
    ]
    if not stopping:
        return
    found = {kinds[finding.id].stops for finding in stopping}
    error = next(kind for name, kind in _ERRORS.items() if name in found)
    wanted = f"device {device}" if profile == "npu" else f"the {profile} profile"
    raise error(_what(wanted, stopping), next="python -m env audit")


def _what(wanted: str, stopping: list[Finding]) -> str:
    lines = [f"this machine is not ready for {wanted}: {len(stopping)} problem{'s' if len(stopping) > 1 else ''}"]
    for finding in stopping:
        lines += [f"  - {finding.what}", f"    why:  {finding.why}"]
        lines += [f"    show: {finding.show}", f"    fix:  {finding.fix}"]
    return "\n".join(lines)
