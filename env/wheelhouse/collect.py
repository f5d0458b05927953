"""`nox -s wheelhouse`: fetch the locked wheels of a target, whatever runs here; pip downloads for other platforms."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from email.message import Message
from pathlib import Path

from env import apart
from env.atomic import write_json
from env.errors import InstallError, WheelhouseError, storage_error
from env.installer import Sources
from env.lock import Locked
from env.options import SERVICE, add_source_options
from env.runner import Runner, run
from env.stack import MACHINES, Apart, load_stack, this_machine, this_python
from env.wheelhouse import APART, MANIFEST, File, Manifest, Missing, Shelf, Target

JOBS = 4  # pip spends most of a small wheel's time starting and asking
GIVE_UP = 8  # pins that fail in a row: the network is gone, and each would try for a minute


def collect(target: Target, folder: Path, sources: Sources, runner: Runner = run) -> Manifest:
    """Fill `folder` with the target's wheels, keeping what is already there and whole; return the manifest.

    Raises:
        WheelhouseError: wheels could not be had; all of them are named, and what was fetched stays.
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    (folder / MANIFEST).unlink(missing_ok=True)  # a manifest speaks of a finished collection only
    shelf = Shelf(folder, target.tags)
    pins = target.pins
    failed = _fetch_all([pin for pin in pins if not shelf.held(pin)], len(pins), target, folder, sources, runner)
    shelf = Shelf(folder, target.tags)  # the folder has changed: hash anew what pip wrote
    files = []
    for pin in pins:
        if path := shelf.held(pin):
            files.append(_entry(path, shelf.sha256(path), pin.name, str(pin.version), pin.lock))
        else:
            failed.setdefault(pin, "not fetched")
    if failed:
        lines = "".join(f"\n  - {pin.name} {pin.version}: {why}" for pin, why in failed.items())
        raise WheelhouseError(
            f"{len(failed)} of {len(pins)} wheels could not be had:{lines}",
            next=f"{target.command(str(folder))}   (what was fetched is kept)",
        )
    missing = []
    for alone in target.apart:
        if found := _fetch_apart(alone, target, folder, sources, runner):
            files.append(_entry(Path(found.place), found.sha256, found.name, found.found, APART))
        else:
            missing.append(Missing(alone.name, alone.version, alone.reason))
    manifest = Manifest(
        target.profile,
        target.machine,
        target.python,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        locks={lock.name: apart.sha256_of(lock) for lock in target.locks},
        bytes=sum(entry.bytes for entry in files),
        files=tuple(sorted(files, key=lambda entry: entry.file)),
        missing=tuple(missing),
    )
    write_json(folder / MANIFEST, asdict(manifest))
    return manifest


def _fetch_all(
    wanted: Sequence[Locked], total: int, target: Target, folder: Path, sources: Sources, runner: Runner
) -> dict[Locked, str]:
    """Fetch the wanted pins, a few at a time; return those that could not be had, with the reason."""
    failed: dict[Locked, str] = {}
    print(f"{target}: {total} wheels, {total - len(wanted)} of them already in {folder}", flush=True)
    in_a_row = 0

    def fetch(pin: Locked) -> str:
        if in_a_row >= GIVE_UP:
            return "not tried: nothing could be had any more"
        return _fetch(pin, target, folder, sources, runner)

    with ThreadPoolExecutor(JOBS) as pool:
        try:
            for pin, why in zip(wanted, pool.map(fetch, wanted), strict=True):
                in_a_row = in_a_row + 1 if why else 0
                if why:
                    failed[pin] = why
                print(f"  {pin.name} {pin.version}{': ' + why if why else ''}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _download(words: Sequence[str], target: Target, folder: Path, sources: Sources, runner: Runner) -> str:
    """Let pip download for another platform; return the reason where it could not, else nothing."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python]
    for platform in target.platforms:
        command += ["--platform", platform]
    done = runner([*command, "--dest", str(folder), *sources.arguments(), *words], timeout=3600.0)
    if done.ok:
        return ""
    said = done.stderr.strip() or done.stdout.strip()
    if "No space left on device" in said:
        raise storage_error(OSError(28, "No space left on device"), folder)
    if "No module named pip" in said:
        raise InstallError("this Python has no pip, which fetches the wheels", next="python -m ensurepip")
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    return (errors or said.splitlines() or ["pip said nothing"])[-1].removeprefix("ERROR: ")


def _fetch(pin: Locked, target: Target, folder: Path, sources: Sources, runner: Runner) -> str:
    for path in Shelf(folder, target.tags).candidates(pin):
        path.unlink()  # it is here and not whole, or it would not be fetched
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(
            " ".join((f"{pin.name}=={pin.version}", *(f"--hash=sha256:{one}" for one in sorted(pin.hashes))))
        )
        requirement.flush()
        return _download(["--require-hashes", "--requirement", requirement.name], target, folder, sources, runner)


def _fetch_apart(pin: Apart, target: Target, folder: Path, sources: Sources, runner: Runner) -> apart.Found | None:
    """A pin that no lock holds: as dropped into the folder, else as one of the user's sources has it."""

    def held() -> apart.Found | None:
        return apart.in_folders(pin, [str(folder)], target.python, target.machine)

    if found := held():
        return found
    return held() if not _download([f"{pin.name}=={pin.version}"], target, folder, sources, runner) else None


def _entry(path: Path, sha256: str, name: str, version: str, lock: str) -> File:
    headers = apart.wheel_headers(path)
    return File(path.name, name, version, sha256, path.stat().st_size, licence(headers), lock)


def licence(headers: Message) -> str | None:
    """The licence as a wheel's METADATA states it: an expression, a short name, or classifiers."""
    stated = str(headers.get("License-Expression") or headers.get("License") or "").strip()
    classifiers = [str(value) for value in headers.get_all("Classifier", []) if str(value).startswith("License ::")]
    if stated and stated.upper() != "UNKNOWN" and (len(stated) <= 80 or not classifiers):
        return stated.splitlines()[0][:80]  # some wheels put the whole text here
    return ", ".join(value.rpartition(":: ")[2] for value in classifiers) or None


def main(argv: Sequence[str] | None = None) -> int:
    stack = load_stack()
    parser = argparse.ArgumentParser(
        prog="python -m env wheelhouse",
        description="Collect the locked wheels of one profile, architecture and Python for a machine without network.",
        allow_abbrev=False,
    )
    parser.add_argument("--profile", choices=(*stack.profiles, *SERVICE), default="npu", help="default: npu")
    machine = this_machine() if this_machine() in MACHINES else MACHINES[0]
    python = this_python() if this_python() in stack.pythons else stack.reference_python
    parser.add_argument("--arch", choices=MACHINES, default=machine, help=f"default: {machine}")
    parser.add_argument("--python", choices=stack.pythons, default=python, help=f"default: {python}")
    parser.add_argument("--wheelhouse", metavar="DIR", help="default: wheelhouse/PROFILE-ARCH-pyVERSION")
    add_source_options(parser)
    given = parser.parse_args(argv)
    target = Target(given.profile, given.arch, given.python)
    folder = Path(
        given.wheelhouse or f"wheelhouse/{target.profile}-{target.machine}-py{target.python.replace('.', '')}"
    )
    manifest = collect(target, folder, Sources(given.index_url, tuple(given.extra_index_url), tuple(given.find_links)))
    print(f"{folder}: {len(manifest.files)} wheels, {manifest.bytes / 1e6:.0f} MB, listed in {MANIFEST}")
    for pin in manifest.missing:
        print(f"to be added by hand: {pin.name} {pin.version} for {target} ({pin.reason})")
    print("there: pip install --no-index --find-links DIR -r requirements/nox.txt")
    print("       nox -s setup -- --offline --wheelhouse DIR")
    return 0
