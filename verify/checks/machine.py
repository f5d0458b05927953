"""Whether the machine is fit for what is verified: the probe's facts and the audit's findings, without torch."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from env import npu_emulator
from env.audit import ANY, Finding, audit, counted, judge, sort
from env.audit.registry import Subject
from env.device_name import DeviceName
from env.probe import probe
from env.probe.host import Host
from env.stack import ROOT, load_stack
from verify.run.context import Context
from verify.run.records import Outcome, Status
from verify.run.text import without_home
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """Judge this machine. Errors fail the check where an NPU was asked for, or is what "auto" should find.

    Under the emulated runtime there is no NPU to judge: only the rules for any machine are heard.
    """
    host = probe(sites=[sysconfig.get_path("purelib")])
    return judged(host, session.context, emulated=npu_emulator.active())


def judged(host: Host, context: Context, *, emulated: bool = False) -> Outcome:
    """The outcome for `host`, however it was probed."""
    npu = context.device.startswith("npu") or (context.device == "auto" and host.ascend)
    profile = "npu" if npu and not emulated else "host"
    size = checkpoint_bytes(context.model_dir)
    if emulated:
        said = judge(Subject(host, load_stack(), profile, size), (ANY,))
        findings = sort(finding for judgement in said for finding in judgement.findings)
    else:
        card = DeviceName.parse(context.device).index if npu else None
        findings = audit(host, load_stack(), profile=profile, checkpoint_bytes=size, device=card)
    data = {"host": summary(host), "findings": [shown(finding) for finding in findings], "ascend_host": host.ascend}
    errors = [finding for finding in findings if finding.severity == "error"]
    reason = _reason(findings) + ("; the NPU is emulated, its host was not judged" if emulated and npu else "")
    return Outcome(Status.FAIL if npu and errors else Status.PASS, reason, data)


def _reason(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing wrong was found"
    return f"{counted(findings)}: {shown(findings[0])['what']}"


def checkpoint_bytes(model_dir: str) -> int | None:
    """The size of the weights in a checkpoint folder; None for a stand-in that is yet to be made, or no folder."""
    if model_dir.startswith("synthetic:"):
        return None
    sizes = [path.stat().st_size for path in Path(model_dir).glob("*.safetensors")]
    return sum(sizes) or None


def shown(finding: Finding) -> dict[str, str]:
    """A finding as the record keeps it: without the folders of whoever ran it."""
    return {name: without_home(value.replace(str(ROOT), "<bundle>")) for name, value in asdict(finding).items()}


def summary(host: Host) -> dict[str, Any]:
    """The facts that a reader of the document compares: versions, counts, chips. No folder, no variable's value."""
    system, toolkit = host.system, host.toolkit
    facts: dict[str, Any] = {
        "machine": system.machine,
        "os": system.name,
        "kernel": system.kernel,
        "libc": system.libc,
        "container": system.container,
        "cpus": system.cpus,
        "memory_bytes": system.memory_total,
        "memory_available_bytes": system.memory_available,
        "disk_free_bytes": next((disk.free for disk in system.disks if disk.use == "environments"), None),
        "python": host.python.version,
    }
    if not host.ascend:
        return facts
    return facts | {
        "driver": {"hdk": host.driver.release, "innerversion": host.driver.innerversion} if host.driver else None,
        "firmware": {"hdk": host.firmware.release, "version": host.firmware.version} if host.firmware else None,
        "cann": {"release": toolkit.release, "build": toolkit.innerversion, "chips": list(toolkit.kernels)}
        if toolkit
        else None,
        "nnal": next((nnal.build or nnal.release for nnal in host.nnal), None),
        "npu_smi": {"status": host.npu_smi.status, "version": host.npu_smi.tool_version},
        "chips": [
            {
                "npu": chip.npu,
                "chip": chip.chip,
                "name": chip.name,
                "health": chip.health,
                "memory_used_mb": chip.hbm_used_mb,
                "memory_mb": chip.hbm_total_mb,
            }
            for chip in host.npu_smi.chips
        ],
        "devices": {
            "pci": len(host.pci),
            "nodes": len(host.davinci),
            "npu_smi": len(host.npu_smi.chips),
            "hal": host.hal.count,
        },
        "packages": {
            name: found.version
            for name in ("torch", "torch-npu", "torchaudio", "transformers", "numpy")
            if (found := host.distribution(name)) is not None
        },
    }
