"""Work shared among the processes that torchrun starts: who does what, what each gathers, and who died.

Batches are made before they are shared out, so that every utterance meets the same neighbours, and gets the same
text, with any number of processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from env.device_name import DeviceName
from env.errors import UsageError, VerificationIncompleteError
from env.language import _
from model.console import lines

T = TypeVar("T")

# What is gathered are texts, which are on the host. HCCL ends what takes longer than HCCL_EXEC_TIMEOUT (1800 s) on the
# device, whatever torch is told, and needs its links: a process half an hour behind would lose the run at its end.
BACKENDS = {"cpu": "gloo", "cuda": "nccl", "npu": "gloo"}
# A process that is done waits for the slowest. Longest first keeps that to one batch; a slow device may take longer.
PATIENCE = timedelta(hours=6)
SETTLE_SECONDS = 5.0  # a killed process closes its connections before it counts as ended


@dataclass(frozen=True)
class Place:
    """Where a process is among those of torchrun; alone without torchrun."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0


def place() -> Place:
    """Where torchrun put this process, from the environment that it sets."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in os.environ:
        return Place()
    try:
        return Place(*(int(os.environ[name]) for name in names))
    except (KeyError, ValueError) as error:
        raise UsageError(
            _("RANK is set, and {names} are not three numbers", names=", ".join(names)),
            next="torchrun --nproc-per-node N eval.py ...",
        ) from error


def device_for(device: str, where: Place) -> str:
    """The device of this process: `npu` and `cuda` without an index are one card a process of the machine."""
    name = DeviceName.parse(device)
    if where.size == 1 or name.kind == "cpu":
        return device
    if name.has_index:
        raise UsageError(
            _("--device {device} is one device, torchrun started {count} processes", device=device, count=where.size),
            next=_("--device {kind}, which takes a card for each", kind=name.kind),
        )
    return str(name.card(where.local_rank))


def batches(seconds: Sequence[float], size: int, alone_above: float) -> list[list[int]]:
    """Indices of recordings in batches of at most `size`, longest first, so that what is decoded together is alike.

    Recordings longer than `alone_above` seconds are batches of their own: they are streamed window by window.
    """
    order = sorted(range(len(seconds)), key=lambda index: (-seconds[index], index))
    long = [index for index in order if seconds[index] > alone_above]
    short = order[len(long) :]
    return [[index] for index in long] + [short[start : start + size] for start in range(0, len(short), size)]


def assign(loads: Sequence[float], size: int) -> list[list[int]]:
    """Which loads each of `size` processes takes: the longest first, each to the process with least so far.

    No process gets more than 4/3 of the best division (Graham 1969, "Bounds on multiprocessing timing anomalies").
    """
    shares: list[list[int]] = [[] for _ in range(size)]
    totals = [0.0] * size
    for index in sorted(range(len(loads)), key=lambda index: (-loads[index], index)):
        lightest = min(range(size), key=lambda rank: (totals[rank], rank))
        shares[lightest].append(index)
        totals[lightest] += loads[index]
    return shares


def _alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


class Group:
    """The processes of a run, joined. Alone it does nothing."""

    def __init__(self, where: Place) -> None:
        self.place = where
        self._members: list[tuple[str, int]] = [(socket.gethostname(), os.getpid())]
        if where.size > 1:
            self._members = self.gather(self._members[0])

    def gather(self, value: T) -> list[T]:
        """What every process passed here, by rank, in every process.

        Raises:
            VerificationIncompleteError: a process died or left; it is named.
        """
        if self.place.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.place.size
        try:
            dist.all_gather_object(values, value)
        except RuntimeError as error:
            raise self.lost(str(error).splitlines()[0]) from error
        return values

    def dead(self) -> list[int]:
        """Ranks on this machine whose process has ended."""
        here = socket.gethostname()
        return [rank for rank, (host, pid) in enumerate(self._members) if host == here and not _alive(pid)]

    def lost(self, reason: str) -> VerificationIncompleteError:
        """The error that names the processes that died."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not (dead := self.dead()) and time.monotonic() < deadline:
            time.sleep(0.05)
        members = [_("rank {rank} (process {process})", rank=rank, process=self._members[rank][1]) for rank in dead]
        return VerificationIncompleteError(
            _(
                "{names} died; every transcript that was finished is kept",
                names=lines(*members, before=", ") if members else _("another process"),
            ),
            why=reason,
            next=_("the same command again finishes the rest"),
        )


def _stopped(group: Group, signum: int) -> VerificationIncompleteError:
    """The error of a process that has to stop: torchrun does that to all when one of them dies."""
    if group.place.size > 1 and group.dead():
        return group.lost(_("this process, rank {rank}, was then stopped too", rank=group.place.rank))
    return VerificationIncompleteError(
        _("stopped by {signal}; every transcript that was finished is kept", signal=signal.Signals(signum).name),
        next=_("the same command again finishes the rest"),
    )


@contextlib.contextmanager
def joined(where: Place, device_kind: str) -> Iterator[Group]:
    """The group of this run. Inside, SIGTERM ends the process with an error that says who died first.

    Raises:
        VerificationIncompleteError: a process died.
    """
    group: Group | None = None

    def on_terminate(signum: int, frame: FrameType | None) -> None:
        raise _stopped(group or Group(Place()), signum)

    before = signal.signal(signal.SIGTERM, on_terminate)
    try:
        if where.size > 1:
            import torch
            import torch.distributed as dist

            if device_kind == "cuda":  # nccl sends from the current card; an npu was made current when it answered
                torch.cuda.set_device(where.local_rank)
            dist.init_process_group(BACKENDS[device_kind], timeout=PATIENCE)
        group = Group(where)
        yield group
    finally:
        signal.signal(signal.SIGTERM, before)
        if where.size > 1:
            import torch.distributed as dist

            if dist.is_initialized():
                dist.destroy_process_group()
