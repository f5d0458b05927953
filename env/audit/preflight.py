"""What must be right before setup downloads anything."""

from __future__ import annotations

from dataclasses import replace

from env.audit import Finding, judge, texts
from env.audit.registry import TORCH_NPU, Subject
from env.errors import BundleError, HostError, PythonVersionError, StorageError
from env.language import Message, _
from env.probe.host import Host
from env.stack import Stack

_ERRORS: dict[str, type[BundleError]] = {"host": HostError, "python": PythonVersionError, "storage": StorageError}


def preflight(host: Host, stack: Stack, device: str, profile: str, *, torch_npu: str | None = None) -> None:
    """Let setup go on, or stop it with everything that is wrong at once.

    `device` is what the user named ("auto", "cpu", "npu:0", ...), `profile` the environment that will be built,
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
        for judgement in judge(Subject(host, stack, profile))
        for finding in judgement.findings
        if kinds[finding.id].stops is not None and finding.severity == "error"
    ]
    if not stopping:
        return
    obstacles = {kinds[finding.id].stops for finding in stopping}
    error = next(kind for name, kind in _ERRORS.items() if name in obstacles)
    target = _("device {device}", device=device) if profile == "npu" else _("the {profile} profile", profile=profile)
    raise error(_what(target, stopping), next="python -m env audit")


def _what(target: Message, stopping: list[Finding]) -> Message:
    if len(stopping) == 1:
        text = _("this machine is not ready for {target}: 1 problem", target=target)
    else:
        text = _("this machine is not ready for {target}: {count} problems", target=target, count=len(stopping))
    for each in stopping:
        text = _(
            "{above}\n  - {what}\n    why:  {why}\n    show: {show}\n    fix:  {fix}",
            above=text,
            what=each.what,
            why=each.why,
            show=each.show,
            fix=each.fix,
        )
    return text
