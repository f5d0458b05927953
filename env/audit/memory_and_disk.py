"""Rules on disk and memory."""

from __future__ import annotations

from collections.abc import Iterator

from env.audit.registry import Fields, NotApplicableError, Rule, Subject
from env.language import _

GIB = 1 << 30

HEADROOM = GIB // 2  # records, logs and temporary files of a run


def disk_space(subject: Subject) -> Iterator[Fields]:
    disk = next((disk for disk in subject.host.system.disks if disk.use == "environments"), None)
    if disk is None:
        raise NotApplicableError(_("the free space is not known"))
    built = any(f"/.venvs/{subject.profile}/" in site for site in subject.host.sites)
    size = subject.compat.environment_bytes(subject.profile, subject.host.system.machine)
    needed = HEADROOM if built or size is None else size
    if disk.free < needed:
        yield {"free": _gib(disk.free), "needed": _gib(needed), "path": disk.path, "profile": subject.profile}


def memory_total(subject: Subject) -> Iterator[Fields]:
    needed, total = _memory(subject, subject.host.system.memory_total)
    if total < needed:
        yield {"total": _gib(total), "needed": _gib(needed)}


def memory_available(subject: Subject) -> Iterator[Fields]:
    needed, available = _memory(subject, subject.host.system.memory_available)
    total = subject.host.system.memory_total
    if available < needed and (total is None or total >= needed):
        yield {"available": _gib(available), "needed": _gib(needed)}


def _memory(subject: Subject, value: int | None) -> tuple[int, int]:
    """What loading the checkpoint takes on the host, and what there is."""
    if subject.checkpoint_bytes is None:
        raise NotApplicableError(_("the size of the checkpoint is not known"))
    if value is None:
        raise NotApplicableError(_("the memory is not known"))
    return subject.checkpoint_bytes, value


def _gib(value: int) -> str:
    return f"{value / GIB:.1f} GiB"


RULES: dict[str, Rule] = {
    "disk-space": disk_space,
    "memory-total": memory_total,
    "memory-available": memory_available,
}
