"""`nox -s bench-setup`: our first setup from warm caches beside the stock way, in one run on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from env import builder
from env.arguments import DefaultsFormatter, Parser
from env.errors import InstallError
from env.installer import Sources, choose, configured
from env.language import _, translate
from env.stack import ROOT


def stock(lock: Path, folder: Path, sources: Sources) -> float:
    """Seconds of `python -m venv` and `pip install -r` of the same lock."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *sources.arguments(), "--requirement", str(lock)], check=False)
    if done.returncode != 0:
        raise InstallError(_("pip could not install the lock"), next=f"pip install -r {lock.relative_to(ROOT)}")
    return time.perf_counter() - start


def ours(plan: builder.Plan, sources: Sources) -> float:
    """Seconds of the builder, from nothing to the stamp, its import check included."""
    start = time.perf_counter()
    builder.build(plan, choose("auto"), sources)
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m env bench-setup",
        description=_("Time our setup beside venv and pip."),
        formatter_class=DefaultsFormatter,
    )
    parser.add_argument("--profile", default="host", choices=("host", "dev", "tools"), help=_("the environment"))
    options = parser.parse_args(argv)
    sources = configured(Sources())
    # Beside .venvs, on the same file system as the caches, so that uv may link as it does in a real setup.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT) as folder:
        plan = builder.plan(options.profile)
        for part in ("warming", "timed"):  # the first round fills both caches
            mine = ours(replace(plan, path=Path(folder, f"ours-{part}")), sources)
            theirs = stock(plan.lock, Path(folder, f"stock-{part}"), sources)
    seconds = {"nox -s setup": mine, "venv + pip install -r": theirs}
    for name, value in seconds.items():
        print(f"{name:<24} {value:7.1f} s")
    print(
        translate(
            _(
                "ratio {ratio:.3f} (1/{inverse:.1f}), {lock}, Python {python}, {cores} cores",
                ratio=mine / theirs,
                inverse=theirs / mine,
                lock=plan.lock.name,
                python=sys.version.split()[0],
                cores=os.cpu_count(),
            )
        )
    )
    return 0
