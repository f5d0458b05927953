"""The options of `nox -s setup` and of the environment that the later sessions use."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from env.stack import load_stack

PROFILES = ("auto", "host", "npu")
SERVICE = ("tools", "dev")  # environments of the bundle itself: what renders, and what tests
SETUP_FILE = "setup.json"  # setup's record in a run's folder: status, reason, profile, lock, packages apart
NEAREST = "nearest"  # --allow-substitute without a version


def add_source_options(parser: argparse._ActionsContainer) -> None:
    """Options that say where packages come from."""
    parser.add_argument("--index-url", metavar="URL", help="the package index (default: what pip is configured with)")
    parser.add_argument("--extra-index-url", metavar="URL", action="append", default=[], help="one more index")
    parser.add_argument("--find-links", metavar="PLACE", action="append", default=[], help="a folder of wheels")


def add_setup_options(parser: argparse.ArgumentParser) -> None:
    """Options that only the builder reads."""
    group = parser.add_argument_group("setup")
    add_source_options(group)
    group.add_argument("--offline", action="store_true", help="use no index: everything comes from --wheelhouse")
    group.add_argument("--wheelhouse", metavar="DIR", help="a folder made by `nox -s wheelhouse`")
    group.add_argument(
        "--allow-substitute",
        metavar="VERSION",
        nargs="?",
        const=NEAREST,
        help="where the pinned torch-npu is not to be had, take this version (without one: the nearest published one "
        "that is not newer); the record and both documents then say so",
    )
    group.add_argument("--fresh", action="store_true", help="build anew even where the environment is current")
    group.add_argument("--installer", choices=("auto", "uv", "pip"), default="auto", help="default: uv where present")


def device(text: str) -> str:
    """A device as it may be asked for, so that a slip of the pen builds no environment.

    Raises:
        argparse.ArgumentTypeError: no profile serves such a device.
    """
    kinds = [kind for profile in load_stack().profiles.values() for kind in profile.devices]
    kind, _, index = text.partition(":")
    if text in ("auto", *kinds) or (kind in kinds and index.isdecimal()):
        return text
    raise argparse.ArgumentTypeError(f"no device {text!r}: npu:N, cuda:N, cpu or auto")


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what is set up and verified."""
    group = parser.add_argument_group("target")
    group.add_argument(
        "--device", type=device, default="auto", help="npu:N, cuda:N, cpu or auto (npu, then cuda, then cpu)"
    )
    group.add_argument("--profile", choices=(*PROFILES, *SERVICE), default="auto", help="default: by device")
    group.add_argument("--run", metavar="RUN", help="a run's id or folder (default: a new one under --results)")
    group.add_argument("--results", metavar="DIR", default="results", help="where runs are kept (default: results)")


def repeating(session: str, words: Sequence[str]) -> str:
    """The nox command that does the same again: `words` without the run that this one was given."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--run" and not word.startswith("--run="):
            kept.append(word)
        skip = word == "--run"
    return shlex.join(["nox", "-s", session, *(["--", *kept] if kept else [])])


def run_folder(results: str, run: str) -> Path:
    """The folder of a run that is given by its id under `results`, or by its path."""
    return Path(run) if Path(run).name != run or Path(run).is_dir() else Path(results) / run
