"""`nox -s wheelhouse`: fetch the locked wheels of a target, whatever runs here; pip downloads for other platforms."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from email.message import Message
from pathlib import Path

from env import unlocked_pins
from env.arguments import DefaultsFormatter, Parser
from env.atomic import write_json
from env.digest import file_sha256
from env.errors import InstallError, WheelhouseError, storage_error
from env.installer import Sources
from env.language import _, concatenated, translate
from env.lock import Locked
from env.options import SERVICE, SOURCES
from env.runner import Runner, run
from env.stack import MACHINES, UnlockedPin, architecture, load_stack, this_machine, this_python
from env.unlocked_pins import Located
from env.wheelhouse import MANIFEST, NO_LOCK, File, Manifest, Missing, Shelf, Target, listed

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
            failed.setdefault(pin, _("not fetched"))
    if failed:
        raise WheelhouseError(
            listed(
                _("{n} of {total} wheels could not be had:", n=len(failed), total=len(pins)),
                [concatenated(f"{pin.name} {pin.version}: ", why) for pin, why in failed.items()],
            ),
            next=concatenated(target.command(str(folder)), "   ", _("(what was fetched is kept)")),
        )
    missing = []
    for unlocked in target.unlocked:
        if wheel := _fetch_unlocked(unlocked, target, folder, sources, runner):
            files.append(_entry(Path(wheel.place), wheel.sha256, wheel.name, wheel.version, NO_LOCK))
        else:
            missing.append(Missing(unlocked.name, unlocked.version, unlocked.reason))
    manifest = Manifest(
        target.profile,
        target.machine,
        target.python,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        locks={lock.name: file_sha256(lock) for lock in target.locks},
        bytes=sum(entry.bytes for entry in files),
        files=tuple(sorted(files, key=lambda entry: entry.file)),
        missing=tuple(missing),
    )
    write_json(folder / MANIFEST, asdict(manifest))
    return manifest


def _fetch_all(
    pins: Sequence[Locked], total: int, target: Target, folder: Path, sources: Sources, runner: Runner
) -> dict[Locked, str]:
    """Fetch pins, a few at a time; return those that could not be had, with the reason."""
    failed: dict[Locked, str] = {}
    begun = _(
        "{target}: {total} wheels, {present} of them already in {folder}",
        target=target.message,
        total=total,
        present=total - len(pins),
        folder=str(folder),
    )
    print(translate(begun), flush=True)
    in_a_row = 0

    def fetch(pin: Locked) -> str:
        if in_a_row >= GIVE_UP:
            return _("not tried: nothing could be had any more")
        return _fetch(pin, target, folder, sources, runner)

    with ThreadPoolExecutor(JOBS) as pool:
        try:
            for pin, why in zip(pins, pool.map(fetch, pins), strict=True):
                in_a_row = in_a_row + 1 if why else 0
                if why:
                    failed[pin] = why
                print(f"  {pin.name} {pin.version}{': ' + translate(why) if why else ''}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _download(requirements: Sequence[str], target: Target, folder: Path, sources: Sources, runner: Runner) -> str:
    """Let pip download for another platform; return the reason where it could not, else nothing."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python]
    for platform in target.platforms:
        command += ["--platform", platform]
    done = runner([*command, "--dest", str(folder), *sources.arguments(), *requirements], timeout=3600.0)
    if done.ok:
        return ""
    output = done.stderr.strip() or done.stdout.strip()
    if "No space left on device" in output:
        raise storage_error(OSError(28, "No space left on device"), folder)
    if "No module named pip" in output:
        raise InstallError(_("this Python has no pip, which fetches the wheels"), next="python -m ensurepip")
    lines = output.splitlines()
    if not lines:
        return _("pip said nothing")
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return (errors or lines)[-1].removeprefix("ERROR: ")


def _fetch(pin: Locked, target: Target, folder: Path, sources: Sources, runner: Runner) -> str:
    for path in Shelf(folder, target.tags).candidates(pin):
        path.unlink()  # it is here and not whole, or it would not be fetched
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(
            " ".join((f"{pin.name}=={pin.version}", *(f"--hash=sha256:{one}" for one in sorted(pin.hashes))))
        )
        requirement.flush()
        return _download(["--require-hashes", "--requirement", requirement.name], target, folder, sources, runner)


def _fetch_unlocked(pin: UnlockedPin, target: Target, folder: Path, sources: Sources, runner: Runner) -> Located | None:
    """A pin that no lock holds: as dropped into the folder, else as one of the user's sources has it."""

    def held() -> Located | None:
        return unlocked_pins.in_folders(pin, [str(folder)], target.python, target.machine)

    if wheel := held():
        return wheel
    return held() if not _download([f"{pin.name}=={pin.version}"], target, folder, sources, runner) else None


def _entry(path: Path, sha256: str, name: str, version: str, lock: str) -> File:
    headers = unlocked_pins.wheel_headers(path)
    return File(path.name, name, version, sha256, path.stat().st_size, licence(headers), lock)


def licence(headers: Message) -> str | None:
    """The licence as a wheel's METADATA states it: an expression, a short name, or classifiers."""
    stated = str(headers.get("License-Expression") or headers.get("License") or "").strip()
    classifiers = [str(value) for value in headers.get_all("Classifier", []) if str(value).startswith("License ::")]
    if stated and stated.upper() != "UNKNOWN" and (len(stated) <= 80 or not classifiers):
        return stated.splitlines()[0][:80]  # some wheels put the whole text here
    return ", ".join(value.rpartition(":: ")[2] for value in classifiers) or None


def make_parser() -> Parser:
    stack = load_stack()
    parser = Parser(
        prog="python -m env wheelhouse",
        description=_(
            "Collect the locked wheels of one profile, architecture and Python for a machine without network."
        ),
        formatter_class=DefaultsFormatter,
    )
    machine = this_machine() if this_machine() in MACHINES else MACHINES[0]
    python = this_python() if this_python() in stack.pythons else stack.reference_python
    parser.add_argument("--profile", choices=(*stack.profiles, *SERVICE), default="npu", help=_("the environment"))
    arch = _("the architecture of its machine")
    parser.add_argument("--arch", type=architecture, choices=MACHINES, default=machine, help=arch)
    parser.add_argument("--python", choices=stack.pythons, default=python, help=_("its Python"))
    parser.add_argument("--wheelhouse", metavar="DIR", help=_("default: wheelhouse/PROFILE-ARCH-pyVERSION"))
    for option in SOURCES:
        option.add(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    target = Target(options.profile, options.arch, options.python)
    name = f"{target.profile}-{target.machine}-py{target.python.replace('.', '')}"
    folder = Path(options.wheelhouse or f"wheelhouse/{name}")
    sources = Sources(options.index_url, tuple(options.extra_index_url), tuple(options.find_links))
    manifest = collect(target, folder, sources)
    lines: list[str] = [
        _(
            "{folder}: {n} wheels, {size:.0f} MB, listed in {manifest}",
            folder=str(folder),
            n=len(manifest.files),
            size=manifest.bytes / 1e6,
            manifest=MANIFEST,
        )
    ]
    lines += [
        _(
            "to be added by hand: {name} {version} for {target} ({reason})",
            name=pin.name,
            version=pin.version,
            target=target.message,
            reason=_(pin.reason),
        )
        for pin in manifest.missing
    ]
    lines += [
        _("there: pip install --no-index --find-links DIR -r requirements/nox.txt"),
        "       nox -s setup -- --offline --wheelhouse DIR",
    ]
    print("\n".join(map(translate, lines)))
    return 0
