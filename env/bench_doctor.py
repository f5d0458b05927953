"""`nox -s bench-doctor`: how fast the doctor reads a long log, and in how much memory."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from env.arguments import Parser
from env.doctor import scan
from env.language import _, translate

MIB = 1 << 20
# Lines such as CANN's plog and Python's logging write, none of them a failure; the last line is one.
LINES = (
    "[INFO] RUNTIME(12345,python):2026-11-23-06:08:00.123.456 [api_impl.cc:1234] 12345 StreamCreate: stream_id={n}.\n"
    "[WARNING] GE(12345,python):2026-11-23-06:08:00.123.789 [op_compile.cc:77] 12345 op Conv2D{n} is slow\n"
    "INFO 11-23 06:08:00 [engine.py:310] step {n}: running 3 reqs, waiting 0 reqs, cache usage 12.5%\n"
)
FAILURE = "ImportError: libhccl.so: cannot open shared object file: No such file or directory\n"


def write_log(path: Path, mebibytes: int) -> None:
    """A log of about that size whose only known failure is its last line."""
    block = "".join(LINES.format(n=number) for number in range(4000)).encode()
    with path.open("wb") as file:
        while file.tell() < mebibytes * MIB:
            file.write(block)
        file.write(FAILURE.encode())


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m env bench-doctor", description=_("Time the doctor on a long log."))
    parser.add_argument("--mebibytes", type=int, default=200, help=_("size of the log (default: 200)"))
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        write_log(path, arguments.mebibytes)
        wall, busy = time.perf_counter(), time.process_time()
        with path.open("rb") as file:
            failures = [diagnosis.failure.id for diagnosis in scan(file)]
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        size = path.stat().st_size / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = _(
        "{size:.0f} MiB in {wall:.1f} s ({busy:.1f} s of one core), peak memory {peak:.0f} MiB; found {failures}",
        size=size,
        wall=wall,
        busy=busy,
        peak=peak,
        failures=repr(failures),
    )
    print(translate(figures))
    print(f"Python {sys.version.split()[0]}")
    return 0
