"""How fast bytes go to the device, back, and from place to place on it: a link of half its width shows nowhere else.

On a CPU there is nothing to measure: host and device are one memory, whose rate is the reading floor of `benchmark`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from env.language import _
from model.device import Device, runtime_errors
from verify.reference.figures import CopyFigures

if TYPE_CHECKING:
    from torch import Tensor

Memory = Literal["pinned", "pageable"]

QUICK_SIZES = (2**20, 16 * 2**20)  # what fits a chip's L2 cache may stay there on the device
SIZES = (2**20, 16 * 2**20, 256 * 2**20)  # the last is beyond any L2 cache
QUICK_S, FULL_S = 0.05, 0.2  # of each row: ten rows at level 2, which is half a second
FEWEST, MOST = 5, 200  # copies of a row
PRIME = 251  # bytes after which the pattern begins again: no power of two, which a wrong address would share


def measure(device: Device, sizes: Sequence[int] = QUICK_SIZES, budget_s: float = QUICK_S) -> list[CopyFigures]:
    """Each direction, size and kind of host memory: bytes over the median time of several copies; none on a CPU.

    Bytes are those that are copied, once: on the device each is read and written.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    if device.kind == "cpu":
        return []
    with runtime_errors(device, _("copying to and from the device")):
        rows = [row for size in sizes for row in _rows(device, size, budget_s)]
    device.empty_cache()
    return rows


def _rows(device: Device, size: int, budget_s: float) -> Iterator[CopyFigures]:
    import torch

    pattern = torch.arange(size).remainder_(PRIME).to(torch.uint8)
    kinds: tuple[Memory, ...] = ("pinned", "pageable")
    for memory in kinds:
        here, back = pattern, torch.zeros_like(pattern)
        if memory == "pinned":
            here, back = here.pin_memory(), back.pin_memory()
        there = torch.zeros(size, dtype=torch.uint8, device=device.torch_device)
        yield _row("h2d", memory, device, there, here, budget_s)
        yield _row("d2h", memory, device, back, there, budget_s)
    yield _row("d2d", None, device, torch.zeros_like(there), there, budget_s)


def _row(
    direction: Literal["h2d", "d2h", "d2d"],
    memory: Memory | None,
    device: Device,
    to: Tensor,
    source: Tensor,
    budget_s: float,
) -> CopyFigures:
    import torch

    def one() -> float:
        device.synchronize()
        started = time.perf_counter()
        to.copy_(source, non_blocking=memory == "pinned")
        device.synchronize()
        return time.perf_counter() - started

    one()  # the first finds cold pages
    until = time.perf_counter() + budget_s
    times: list[float] = []
    while len(times) < FEWEST or (len(times) < MOST and time.perf_counter() < until):
        times.append(one())
    return CopyFigures(
        direction=direction,
        memory=memory,
        bytes=to.numel(),
        n=len(times),
        gb_s=to.numel() / statistics.median(times) / 1e9,
        best_gb_s=to.numel() / min(times) / 1e9,
        exact=torch.equal(to.cpu(), source.cpu()),
    )


def rate(rows: Sequence[CopyFigures], direction: str) -> float | None:
    """The median rate of the largest copies in a direction, from or to pinned memory; None where there are none."""
    fitting = [row for row in rows if row.direction == direction and row.memory in (None, "pinned")]
    return max(fitting, key=lambda row: row.bytes).gb_s if fitting else None
