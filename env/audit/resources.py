"""Rules on disk and memory."""

from __future__ import annotations

from collections.abc import Iterator

from env.audit.case import Case, Fields, NotApplicableError, rule

GIB = 1 << 30

HEADROOM = GIB // 2  # records, logs and temporary files of a run


@rule("disk-space")
def disk_space(case: Case) -> Iterator[Fields]:
    disk = next((disk for disk in case.host.system.disks if disk.use == "environments"), None)
    if disk is None:
        raise NotApplicableError("the free space is not known")
    built = any(f"/.venvs/{case.profile}/" in site for site in case.host.sites)
    size = case.compat.environment_bytes(case.profile, case.host.system.machine)
    needed = HEADROOM if built or size is None else size
    if disk.free < needed:
        yield {"free": _gib(disk.free), "needed": _gib(needed), "path": disk.path, "profile": case.profile}


@rule("memory-total")
def memory_total(case: Case) -> Iterator[Fields]:
    needed, total = _memory(case, case.host.system.memory_total)
    if total < needed:
        yield {"total": _gib(total), "needed": _gib(needed)}


@rule("memory-available")
def memory_available(case: Case) -> Iterator[Fields]:
    needed, available = _memory(case, case.host.system.memory_available)
    total = case.host.system.memory_total
    if available < needed and (total is None or total >= needed):
        yield {"available": _gib(available), "needed": _gib(needed)}


def _memory(case: Case, value: int | None) -> tuple[int, int]:
    """What loading the checkpoint takes on the host, and what there is."""
    if case.checkpoint_bytes is None:
        raise NotApplicableError("the size of the checkpoint is not known")
    if value is None:
        raise NotApplicableError("the memory is not known")
    return case.checkpoint_bytes, value


def _gib(value: int) -> str:
    return f"{value / GIB:.1f} GiB"
