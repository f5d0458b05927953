"""`nox -s setup`: look at the machine, find every pin, and only then download and build the environments."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from env import apart, builder, wheelhouse
from env.atomic import write_json
from env.errors import BundleError, InstallError, PythonVersionError, StorageError, UsageError
from env.installer import Installer, Sources, choose, configured, local_and_absent, without_credentials
from env.options import (
    NEAREST,
    SERVICE,
    SETUP_FILE,
    add_setup_options,
    add_target_options,
    repeating,
    run_folder,
)
from env.stack import load_stack, this_machine, this_python

SCHEMA = 1


def profile_for(profile: str, device: str, ascend_host: bool) -> str:
    """The profile that serves `device`; "auto" means npu on an Ascend host and host elsewhere."""
    if profile != "auto":
        return profile
    if device == "auto":
        return "npu" if ascend_host else "host"
    kind = device.partition(":")[0]
    return next((name for name, one in load_stack().profiles.items() if kind in one.devices), "host")


def prepare(arguments: argparse.Namespace, data: dict[str, Any]) -> None:
    """Do all that setup does, filling `data`, the record's figures, as it goes."""
    from env.audit.preflight import preflight
    from env.probe import probe

    stack = load_stack()
    host = probe()
    profile = profile_for(arguments.profile, arguments.device, host.ascend)
    data |= {
        "profile": profile,
        "device": arguments.device,
        "python": this_python(),
        "machine": this_machine(),
        "lock": builder.plan(profile).lock.name,
    }
    if not builder.plan(profile).lock.exists():
        raise PythonVersionError(
            f"there is no lock for Python {this_python()} on {this_machine()}",
            why=f"the declared stack supports Python {' and '.join(stack.pythons)} on x86_64 and aarch64 Linux",
            next=f"python{stack.reference_python} -m venv venv && . venv/bin/activate, then the main job again",
        )
    if profile not in SERVICE:
        substitute = arguments.allow_substitute
        if substitute not in (None, NEAREST) and not apart.is_version(substitute):
            raise UsageError(
                f"--allow-substitute {substitute}: that is no version",
                next=f"--allow-substitute, or {NEAREST}, or a version such as {stack.packages['torch']}",
            )
        torch_npu = None if substitute == NEAREST else substitute
        try:
            preflight(host, stack, arguments.device, profile, torch_npu=torch_npu)
        except StorageError:
            if not builder.is_built(profile):  # what stands needs no more room
                raise
    installer = _installer(arguments.installer)
    sources = configured(_given(arguments))
    if arguments.offline and arguments.wheelhouse:
        _verify_wheelhouse(profile, arguments)
    found = [] if profile in SERVICE else _standing(profile, arguments, sources) or _locate(profile, arguments, sources)
    if profile not in SERVICE:
        builder.build(builder.plan("tools"), installer, sources)
    stamp, built = builder.build(builder.plan(profile, found), installer, sources, fresh=arguments.fresh)
    data |= {key: stamp[key] for key in ("lock_sha256", "installer", "packages", "apart", "python")} | {"built": built}
    print(f"{profile}: {'built' if built else 'up to date'} (.venvs/{profile})")


def _given(arguments: argparse.Namespace) -> Sources:
    """The sources that the options name.

    Raises:
        UsageError: a folder that is not there, or offline and no folder to install from.
    """
    folders = tuple(arguments.find_links)
    if absent := [place for place in folders if local_and_absent(place)]:
        raise UsageError(f"--find-links {absent[0]}: there is no such folder", next=f"ls -d {absent[0]}")
    if arguments.wheelhouse:
        folders = (str(Path(arguments.wheelhouse).resolve()), *folders)
    if arguments.offline and not folders:
        raise UsageError(
            "--offline needs a folder of wheels",
            next="nox -s wheelhouse on a connected machine; then nox -s setup -- --offline --wheelhouse DIR",
        )
    return Sources(arguments.index_url, tuple(arguments.extra_index_url), folders, offline=arguments.offline)


def _verify_wheelhouse(profile: str, arguments: argparse.Namespace) -> None:
    """Verify every hash of the wheelhouse, unless everything stands already and nothing will be taken from it."""
    needed = {profile} if profile in SERVICE else {profile, "tools"}
    if arguments.fresh or not all(builder.is_built(one) for one in needed):
        wheelhouse.verify(Path(arguments.wheelhouse), wheelhouse.Target(profile, this_machine(), this_python()))


def _installer(name: str) -> Installer:
    try:
        return choose(name)
    except LookupError as error:
        raise InstallError(f"{error} is not installed", next="pip install -r requirements/nox.txt") from error


def canns(torch_npu: str) -> str:
    """The CANN releases that a published torch-npu pairs with: "(CANN 8.5.0)"."""
    from env.audit.compat import load_compat

    pairs = [pair.cann for pair in load_compat().canns(torch_npu)]
    return f"(CANN {', '.join(pairs)})" if pairs else ""


def _standing(profile: str, arguments: argparse.Namespace, sources: Sources) -> list[apart.Found]:
    """The pins that stand apart as the current environment has them, so that a second setup asks no index again.

    Nothing where it is to be made anew, where something nearer has appeared (the image's torch-npu was upgraded), or
    where it holds a substitute that is not allowed this time.
    """
    pins = load_stack().profiles[profile].apart_on(this_machine())
    found = [] if arguments.fresh else list(builder.standing(profile))
    if [(one.name, one.asked) for one in found] != [(pin.name, pin.version) for pin in pins]:
        return []
    allowed = arguments.allow_substitute
    for pin, one in zip(pins, found, strict=True):
        if one.substituted and (allowed is None or (allowed != NEAREST and not apart.same_release(allowed, one.found))):
            return []
        near = apart.at_hand(pin, sources.find_links, this_python(), this_machine(), apart.base_site_packages())
        if near and (near.found, near.source, near.sha256) != (one.found, one.source, one.sha256):
            return []
    return found


def _locate(profile: str, arguments: argparse.Namespace, sources: Sources) -> list[apart.Found]:
    return apart.locate(
        load_stack().profiles[profile].apart_on(this_machine()),
        sources,
        python=this_python(),
        machine=this_machine(),
        substitute=arguments.allow_substitute,
        explain=canns,
    )


def setup(arguments: argparse.Namespace, command: str) -> None:
    """Run setup and leave results/<run>/setup.json, whatever happens.

    The record is there from the start, as one that did not end: a kill leaves it so, and a folder that cannot be
    written stops setup before it downloads.

    Raises:
        BundleError: what stopped it, after it is recorded.
    """
    folder = run_folder(arguments.results, arguments.run) if arguments.run else None
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    clock = time.monotonic()
    data: dict[str, Any] = {}
    status, reason = "error", "stopped before it ended"

    def keep() -> None:
        if folder is not None:
            record = {
                "schema": SCHEMA,
                "status": status,
                "reason": reason,
                "started": started,
                "seconds": round(time.monotonic() - clock, 3),
                "command": command,
                "data": data,
            }
            write_json(folder / SETUP_FILE, record)

    keep()
    try:
        prepare(arguments, data)
        status, reason = "pass", ""
    except BundleError as error:
        status, reason = "fail", str(error)
        raise
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    finally:
        keep()


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m env setup",
        description="Check the machine and build the pinned environment.",
        allow_abbrev=False,
    )
    add_target_options(parser)
    add_setup_options(parser)
    setup(parser.parse_args(words), repeating("setup", [_without_secrets(word) for word in words]))
    return 0


def _without_secrets(word: str) -> str:
    """A word of the command as the record keeps it: an index address without user and password."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + (without_credentials(value) if "://" in value else value)
