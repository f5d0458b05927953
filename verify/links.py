"""Do the cards of a machine reach each other, and how fast? An all-reduce of whole numbers, whose sum is exact.

    python -m verify.links --rank R --cards npu:0,npu:1 --port P --output FILE

One process a card; the first writes the figures. HCCL between NPUs, NCCL between GPUs, gloo between CPUs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from env.arguments import Parser
from env.atomic import write_json
from env.device_name import DeviceName
from env.errors import run_main
from env.language import Message, _
from env.stack import ROOT
from verify.run.cards import LinkRow, Links

BACKENDS = {"npu": "hccl", "cuda": "nccl", "cpu": "gloo"}
SIZES = tuple(1024 * 16**step for step in range(5))  # bytes: 1 KiB to 64 MiB
ROUNDS = 5  # the fastest counts: what the link can do, not what else the machine did
LIMIT_S = 600.0  # of the whole: HCCL's first connection alone may take HCCL_CONNECT_TIMEOUT, 120 s
JOIN_S = 300.0


def measure(cards: Sequence[str], python: Path, folder: Path, limit_s: float = LIMIT_S) -> Links:
    """Join the cards once, in the environment's Python; what came of it, whatever that is."""
    output, log = folder / "links-figures.json", folder / "logs" / "links.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    shared = ["--cards", ",".join(cards), "--port", str(_free_port()), "--output", str(output)]
    environ = {"HCCL_CONNECT_TIMEOUT": "120", **os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    with log.open("wb") as stream:
        children = [
            subprocess.Popen(
                [str(python), "-m", "verify.links", "--rank", str(rank), *shared],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            for rank in range(len(cards))
        ]
        try:
            lost = _first_lost(children, time.monotonic() + limit_s)
        finally:
            for child in children:
                child.kill()
            for child in children:
                child.wait()
    try:
        figures = msgspec.json.decode(output.read_bytes(), type=Links)
    except (OSError, msgspec.DecodeError):
        figures = Links(backend=_backend(cards), cards=list(cards), rows=[], problem=_problem(lost, cards, limit_s))
    output.unlink(missing_ok=True)
    return figures


def _problem(lost: int | None, cards: Sequence[str], limit_s: float) -> Message:
    if lost is None:
        return _("the cards did not answer each other in {seconds:.0f} s (logs/links.log)", seconds=limit_s)
    return _("{card} left while the cards were joined (logs/links.log)", card=cards[lost])


def _first_lost(children: Sequence[subprocess.Popen[bytes]], deadline: float) -> int | None:
    """Wait for all; the first that failed, or None where none did before the deadline."""
    waiting = dict(enumerate(children))
    while waiting and time.monotonic() < deadline:
        for rank, child in list(waiting.items()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                if child.wait(timeout=0.05) != 0:
                    return rank
                del waiting[rank]
    return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _backend(cards: Sequence[str]) -> str:
    return BACKENDS[str(DeviceName.parse(cards[0]).kind)]


def join(rank: int, cards: Sequence[str], port: int) -> Links:
    """What this card sees of the sums: exact or not, and how fast by size.

    The rate is the bus bandwidth of nccl-tests and hccl_test: bytes / time * 2 (n - 1) / n (nccl-tests,
    doc/PERFORMANCE.md), which does not depend on the number of cards.

    Raises:
        DeviceError, OutOfMemoryError: the device failed.
        RuntimeError: the cards were not joined.
    """
    import torch
    import torch.distributed as dist

    from model.device import resolve

    device = resolve(cards[rank])
    dist.init_process_group(
        _backend(cards),
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=len(cards),
        timeout=timedelta(seconds=JOIN_S),
    )
    rows = []
    for size in SIZES:
        places = torch.arange(size // 4)
        expected = sum((places * 7 + other * 13) % 1024 for other in range(len(cards)))
        assert isinstance(expected, torch.Tensor)
        seconds, exact = float("inf"), True
        for _round in range(ROUNDS):
            values = ((places * 7 + rank * 13) % 1024).float().to(device.torch_device)
            device.synchronize()
            started = time.perf_counter()
            dist.all_reduce(values)
            device.synchronize()
            seconds = min(seconds, time.perf_counter() - started)
            exact = exact and torch.equal(values.cpu(), expected.float())
        share = 2 * (len(cards) - 1) / len(cards)
        rows.append(LinkRow(bytes=size, seconds=seconds, gb_s=size / seconds * share / 1e9, exact=exact))
    verdicts = torch.tensor([float(row.exact) for row in rows]).to(device.torch_device)
    dist.all_reduce(verdicts, dist.ReduceOp.MIN)  # wrong for one is wrong for all
    rows = [
        msgspec.structs.replace(row, exact=bool(right))
        for row, right in zip(rows, verdicts.cpu().tolist(), strict=True)
    ]
    dist.destroy_process_group()
    wrong = [row.bytes for row in rows if not row.exact]
    problem = _("sums over the links are wrong, from {bytes} bytes on", bytes=wrong[0]) if wrong else None
    return Links(backend=_backend(cards), cards=list(cards), rows=rows, problem=problem)


def main(argv: Sequence[str]) -> int:
    parser = Parser(prog="python -m verify.links")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--cards", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    figures = join(options.rank, options.cards.split(","), options.port)
    if options.rank == 0:
        write_json(options.output, msgspec.to_builtins(figures))
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
