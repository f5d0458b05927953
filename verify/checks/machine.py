"""Whether the machine is fit for what is verified: the probe's facts and the audit's findings, without torch."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from env import npu_emulator
from env.audit import ANY, Finding, audit, counted, judge, sort
from env.audit.chips import physical
from env.audit.registry import Subject
from env.device_name import DeviceName
from env.language import Message, _, altered, as_message
from env.probe import probe
from env.probe.host import Host
from env.redaction import without_home
from env.stack import ROOT, load_stack
from verify.run.context import Context
from verify.run.figures.host import (
    CannFacts,
    ChipFacts,
    DeviceCounts,
    DriverFacts,
    FindingFigures,
    FirmwareFacts,
    HostFacts,
    MachineFigures,
    NpuSmiFacts,
)
from verify.run.judgement import of_machine, wants_npu
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification

PACKAGES = ("torch", "torch-npu", "torchaudio", "transformers", "numpy")  # whose versions are shown


def check(session: Verification) -> Outcome:
    """Judge this machine. Errors fail the check where --device names an NPU, or is "auto" and should be one.

    Under the emulated runtime there is no NPU to judge: only the rules for any machine hold.
    """
    host = probe(sites=[sysconfig.get_path("purelib")])
    return judged(host, session.context, emulated=npu_emulator.active())


def judged(host: Host, context: Context, *, emulated: bool = False) -> Outcome:
    """The outcome for `host`, however it was probed."""
    npu = wants_npu(host.ascend, context.device)
    profile = "npu" if npu and not emulated else "host"
    size = checkpoint_bytes(context.model_dir)
    if emulated:
        judgements = judge(Subject(host, load_stack(), profile, size), (ANY,))
        findings = sort(finding for judgement in judgements for finding in judgement.findings)
    else:
        card = DeviceName.parse(context.device).index if npu else None
        findings = audit(host, load_stack(), profile=profile, checkpoint_bytes=size, device=card)
    figures = MachineFigures(host=facts(host), findings=list(map(shown, findings)), ascend_host=host.ascend)
    reason = _reason(findings)
    if emulated and npu:
        reason = _("{reason}; the NPU is emulated, its host was not judged", reason=reason)
    return failed([reason], figures) if of_machine(figures, context.device) else passed(reason, figures)


def _reason(findings: Sequence[Finding]) -> Message:
    if not findings:
        return _("nothing wrong was found")
    return _("{count}: {what}", count=counted(findings), what=shown(findings[0]).what)


def checkpoint_bytes(model_dir: str) -> int | None:
    """The size of the weights in a checkpoint folder; None for a stand-in that is yet to be made, or no folder."""
    if model_dir.startswith("synthetic:"):
        return None
    sizes = [path.stat().st_size for path in Path(model_dir).glob("*.safetensors")]
    return sum(sizes) or None


def shown(finding: Finding) -> FindingFigures:
    """A finding as the record keeps it: without the folders of whoever ran it."""

    def without_folders(text: str) -> Message:
        return as_message(altered(text, lambda part: without_home(part.replace(str(ROOT), "<bundle>"))))

    return FindingFigures(
        id=finding.id,
        severity=finding.severity,
        what=without_folders(finding.what),
        why=without_folders(finding.why),
        show=without_folders(finding.show),
        fix=without_folders(finding.fix),
        source=finding.source,
    )


def facts(host: Host) -> HostFacts:
    """The facts that a reader of the document compares: versions, counts, chips. No folder, no variable's value."""
    system = host.system
    of_any_machine = HostFacts(
        machine=system.machine,
        os=system.name,
        kernel=system.kernel,
        libc=system.libc,
        container=system.container,
        cpus=system.cpus,
        memory_bytes=system.memory_total,
        memory_available_bytes=system.memory_available,
        disk_free_bytes=next((disk.free for disk in system.disks if disk.use == "environments"), None),
        python=host.python.version,
    )
    if not host.ascend:
        return of_any_machine
    driver, firmware, toolkit = host.driver, host.firmware, host.toolkit
    return structs.replace(
        of_any_machine,
        driver=DriverFacts(hdk=driver.release, innerversion=driver.innerversion) if driver else None,
        firmware=FirmwareFacts(hdk=firmware.release, version=firmware.version) if firmware else None,
        cann=CannFacts(release=toolkit.release, build=toolkit.innerversion, chips=list(toolkit.kernels))
        if toolkit
        else None,
        nnal=next((nnal.build or nnal.release for nnal in host.nnal), None),
        npu_smi=NpuSmiFacts(status=host.npu_smi.status, version=host.npu_smi.tool_version),
        chips=[
            ChipFacts(
                npu=chip.npu,
                chip=chip.chip,
                name=chip.name,
                health=chip.health,
                memory_used_mb=chip.hbm_used_mb,
                memory_mb=chip.hbm_total_mb,
                bus=chip.bus,
                physical=physical(chip),
            )
            for chip in host.npu_smi.chips
        ],
        devices=DeviceCounts(
            pci=len(host.pci), nodes=len(host.davinci), npu_smi=len(host.npu_smi.chips), hal=host.hal.count
        ),
        packages={
            name: distribution.version for name in PACKAGES if (distribution := host.distribution(name)) is not None
        },
    )
