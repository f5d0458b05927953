"""The options of `nox -s verify` and `nox -s report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from env.stack import ROOT, load_stack

DTYPES = ("auto", "float32", "bfloat16", "float16")
LEVELS = (1, 2, 3, 4)
MINUTES = 10.0


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """Options that only the checks read."""
    stack = load_stack()
    group = parser.add_argument_group("verify")
    group.add_argument(
        "--level", type=int, choices=LEVELS, default=2, help="1 readiness, 2 function, 3 full, 4 soak (default: 2)"
    )
    group.add_argument(
        "--model-dir",
        metavar="DIR",
        help=f"the checkpoint folder, synthetic:tiny or synthetic:full (default: {stack.checkpoint} here or beside "
        f"this folder, else {stack.stand_in})",
    )
    group.add_argument("--dtype", choices=DTYPES, default="auto", help="default: the checkpoint's own")
    group.add_argument("--seed", type=int, default=stack.seed, help=f"default: {stack.seed}")
    group.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"how long level 4 repeats itself (default: {MINUTES:g})"
    )
    group.add_argument(
        "--reference", metavar="FILE", help="reference values made elsewhere (default: made here once and kept)"
    )
    group.add_argument("--check", metavar="NAME", action="append", default=[], help="run only this check (repeatable)")


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Options that only the report reads."""
    group = parser.add_argument_group("report")
    group.add_argument("--output", metavar="DIR", help="where the documents go (default: the run's folder)")
    group.add_argument("--strict", action="store_true", help="exit with the verdict's code")


def add_appendix_option(parser: argparse.ArgumentParser) -> None:
    """What the report takes in beside the run. Apart, because `nox -s emulated` has a --faults of its own."""
    parser.add_argument(
        "--faults",
        dest="campaign",
        metavar="FILE",
        help="a fault campaign (faults.json) that becomes the documents' appendix; kept in the run's folder",
    )


def default_model_dir() -> str:
    """The checkpoint folder of the public recipe, in this project or beside it, else the stand-in."""
    stack = load_stack()
    found = _in_or_beside(stack.checkpoint)
    if found is not None:
        return str(found)
    return stack.stand_in if stack.stand_in.startswith("synthetic:") else str(ROOT / stack.stand_in)


def resolve_model_dir(given: str | None) -> str:
    """`given` with a folder made absolute (the checks may run elsewhere); a stand-in's name is left as it is.

    A folder that is not here is looked for in this project and beside it: records name a checkpoint by its folder's
    name, and the commands in them are to find it again.
    """
    if given is None:
        return default_model_dir()
    if given.startswith("synthetic:"):
        return given
    found = None if Path(given).exists() else _in_or_beside(given)
    return str(found or Path(given).resolve())


def _in_or_beside(name: str) -> Path | None:
    return next((folder / name for folder in (ROOT, ROOT.parent) if (folder / name).is_dir()), None)
