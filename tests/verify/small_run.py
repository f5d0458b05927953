"""`python -m tests.verify.small_run CHECK,CHECK... OPTIONS`: verify as a program, with the tests' checks in its plan.

It runs in the interpreter of the tests instead of a built environment, so that the ends of a whole run (a signal, a
full disk) are tried in seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from env import builder
from env.builder import Stamp
from env.ending import interrupt_once, nothing_left
from env.errors import run_main
from verify import __main__ as program
from verify.run import plan
from verify.run import verdict as _judged_by_the_real_plan  # noqa: F401 (imported before the plan is replaced)
from verify.run.plan import Check

STAMP = Stamp(
    profile="host",
    made="2026-01-01T00:00:00+00:00",
    python="3.10.13",
    machine="x86_64",
    lock="host-x86_64-py310.txt",
    lock_sha256="0" * 64,
    installer="uv",
    packages={"torch": "2.9.0"},
)


def small_run(names: Sequence[str], words: Sequence[str]) -> int:
    checks = tuple(Check(name, 1, 20, function=f"tests.verify.bad_checks:{name}") for name in names)
    plan.CHECKS = checks
    builder.require = lambda profile, venvs=builder.VENVS: (Path(sys.executable), STAMP)
    return program.main(["--device", "cpu", "--model-dir", "synthetic:tiny", *words])


if __name__ == "__main__":
    interrupt_once()
    with nothing_left():
        run_main(lambda: small_run(sys.argv[1].split(","), sys.argv[2:]))
