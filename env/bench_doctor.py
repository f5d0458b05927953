"""`nox -s bench-doctor`: how fast the doctor reads a long log, and in how much memory."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from env.arguments import Parser
from env.codes import named_codes, numbers
from env.doctor import Diagnosis, scan
from env.language import _, translate

MIB = 1 << 20
# Lines such as CANN's plog and Python's logging write, none of them a failure; the last line is one.
LINES = (
    "[INFO] RUNTIME(12345,python):2026-11-23-06:08:00.123.456 [api_impl.cc:1234] 12345 StreamCreate: stream_id={n}.\n"
    "[WARNING] GE(12345,python):2026-11-23-06:08:00.123.789 [op_compile.cc:77] 12345 op Conv2D{n} is slow\n"
    "INFO 11-23 06:08:00 [engine.py:310] step {n}: running 3 reqs, waiting 0 reqs, cache usage 12.5%\n"
)
CALL = "RuntimeError: NPU function error: aclrtSynchronizeStream(stream), error code is {code}\n"
REPORT = "{code}: [PID: 811] 2026-11-23-06:08:00.123.456 reported\n"
FAILURE = "ImportError: libhccl.so: cannot open shared object file: No such file or directory\n"


def write_log(path: Path, mebibytes: int, codes: Sequence[str] = ()) -> None:
    """A log of about that size whose known failures are its last line and the vendor's `codes`, evenly spread."""
    block = "".join("".join(LINES).format(n=number) for number in range(1000)).encode()
    left = list(codes)
    with path.open("wb") as file:
        while file.tell() < mebibytes * MIB:
            file.write(block)
            while left and file.tell() >= mebibytes * MIB * (len(codes) - len(left) + 1) / (len(codes) + 1):
                code = left.pop()
                file.write((CALL if code.isdigit() else REPORT).format(code=code).encode())
        file.write(FAILURE.encode())


def drawn(number: int, seed: int) -> list[str]:
    """So many codes, at random, of those that stand for themselves in a log."""
    listed = sorted({*numbers(), *(code for code in named_codes() if "*" not in code)})
    return random.Random(seed).sample(listed, number)  # noqa: S311 -- a draw that can be made again


def named(diagnoses: Sequence[Diagnosis]) -> set[str]:
    """The codes that the answer names: by themselves, or by a row that explains them."""
    rows = {code for each in diagnoses if each.code is None for code in each.failure.covers}
    return rows | {each.code.text for each in diagnoses if each.code}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m env bench-doctor", description=_("Time the doctor on a long log."))
    parser.add_argument("--mebibytes", type=int, default=200, help=_("size of the log (default: 200)"))
    parser.add_argument("--codes", type=int, default=0, help=_("as many of the vendor's codes, at random, in it"))
    parser.add_argument("--seed", type=int, default=0, help=_("what the draw of the codes begins with (default: 0)"))
    arguments = parser.parse_args(argv)
    codes = drawn(arguments.codes, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        write_log(path, arguments.mebibytes, codes)
        wall, busy = time.perf_counter(), time.process_time()
        with path.open("rb") as file:
            diagnoses = scan(file)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        size = path.stat().st_size / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = _(
        "{size:.0f} MiB in {wall:.1f} s ({busy:.1f} s of one core), peak memory {peak:.0f} MiB; found {failures}",
        size=size,
        wall=wall,
        busy=busy,
        peak=peak,
        failures=repr([each.failure.id for each in diagnoses if each.code is None]),
    )
    print(translate(figures))
    if codes:
        told = len(named(diagnoses).intersection(codes))
        print(translate(_("{told} of {n} codes named, seed {seed}", told=told, n=len(codes), seed=arguments.seed)))
    print(f"Python {sys.version.split()[0]}")
    return 0
