"""How many CPU threads the reference computes with, whatever an image or a machine of 192 cores would have it take."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from model.size import FULL_SIZE

# A NUMA node of a Kunpeng 920 has 24 to 32 cores, and Ascend hosts have 192 to 320: beyond a node, threads wait for
# memory and for each other.
MOST = 32
# A container's share of the processors: of cgroup v2, "quota period" or "max period"; of v1, a file each, -1 for no
# limit (kernel.org, admin-guide/cgroup-v2 and scheduler/sched-bwc). sched_getaffinity knows nothing of it.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CFS = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def cores() -> int:
    """The processors that this process may keep busy."""
    mine = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        text = CPU_MAX.read_text() if CPU_MAX.exists() else " ".join(path.read_text() for path in CFS)
        quota, period = text.split()
        if quota != "max" and int(quota) > 0:
            return max(1, min(mine, math.ceil(int(quota) / int(period))))
    return mine


def of_reference(parameters: int) -> int | None:
    """The threads for a reference of that size; None: those that the process has anyway.

    OMP_NUM_THREADS=1 is no user's choice for a full-size model: images export it for their servers' many processes, and
    with one thread the reference outlasts the time limits of the checks. Any other number is kept, up to `MOST`.
    """
    if parameters < FULL_SIZE:
        return None
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(MOST, int(asked) if asked.isdecimal() and int(asked) > 1 else cores())


@contextlib.contextmanager
def for_reference(parameters: int) -> Iterator[None]:
    """Compute with the reference's threads in the block, and with as many as before after it."""
    import torch

    count, before = of_reference(parameters), torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
