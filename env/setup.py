"""`nox -s setup`: look at the machine, locate every pin, and only then download and build the environments."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from env import builder, system_libraries, unlocked_pins, wheelhouse
from env.arguments import Parser
from env.atomic import write_json
from env.device_name import DeviceName
from env.ending import nothing_left
from env.errors import BundleError, InstallError, PythonVersionError, StorageError, UsageError
from env.installer import Installer, Sources, choose, configured, local_and_absent, without_credentials
from env.language import Message, _, altered, as_message, translate
from env.lock import lock_here
from env.options import NEAREST, SERVICE, SETUP_FILE, main_job_parser, repeating, run_folder
from env.probe.host import Host
from env.redaction import redacted, without_home
from env.stack import (
    ROOT,
    UnlockedPin,
    environment_name,
    load_stack,
    lock_path,
    profile_and_stack,
    this_machine,
    this_python,
)
from env.unlocked_pins import Located

SCHEMA = 1


@dataclass(frozen=True)
class SetupRequest:
    """What the options say is to be set up, and from where."""

    profile: str
    stack: str
    device: str
    index_url: str | None
    extra_index_urls: tuple[str, ...]
    find_links: tuple[str, ...]
    offline: bool
    wheelhouse: Path | None
    installer: str
    substitute: str | None
    fresh: bool

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> SetupRequest:
        return cls(
            profile=options.profile,
            stack=options.stack,
            device=options.device,
            index_url=options.index_url,
            extra_index_urls=tuple(options.extra_index_url),
            find_links=tuple(options.find_links),
            offline=options.offline,
            wheelhouse=Path(options.wheelhouse) if options.wheelhouse else None,
            installer=options.installer,
            substitute=options.allow_substitute,
            fresh=options.fresh,
        )

    @property
    def sources(self) -> Sources:
        """The sources that the options name; what pip is configured with is not among them."""
        wheels = (str(self.wheelhouse.resolve()),) if self.wheelhouse else ()
        return Sources(self.index_url, self.extra_index_urls, (*wheels, *self.find_links), offline=self.offline)


def profile_for(profile: str, device: str, ascend_host: bool) -> str:
    """The profile that serves `device`; "auto" means npu on an Ascend host and host elsewhere."""
    if profile != "auto":
        return profile
    kind = DeviceName.parse(device).kind
    if kind is None:
        return "npu" if ascend_host else "host"
    return next((name for name, one in load_stack().profiles.items() if kind in one.devices), "host")


def prepare(request: SetupRequest) -> Iterator[Mapping[str, Any]]:
    """Do all that setup does; yield the record's figures as soon as they are known."""
    from env.probe import probe

    host = probe()
    profile = profile_for(request.profile, request.device, host.ascend)
    environment = environment_name(profile, request.stack)
    lock = builder.plan(environment).lock
    yield {
        "profile": profile,
        "stack": profile_and_stack(environment)[1] or None,
        "device": request.device,
        "python": this_python(),
        "machine": this_machine(),
        "lock": lock.name,
    }
    _require_sense(request)
    _look_at(host, request, profile)
    installer = _installer(request.installer)
    sources = configured(request.sources)
    if environment != profile and not load_stack().other(request.stack).locked:
        _lock_named(environment, request, sources)
    _require_lock(lock)
    _verify_wheelhouse(profile, request)
    pins = _locate(environment, request, sources)
    if profile not in SERVICE:
        builder.build(builder.plan("tools"), installer, sources)
    stamp, anew = builder.build(builder.plan(environment, pins), installer, sources, fresh=request.fresh)
    names = ("lock_sha256", "installer", "packages", "apart", "python")
    yield {name: msgspec.to_builtins(getattr(stamp, name)) for name in names} | {"built": anew}
    outcome = _("built") if anew else _("up to date")
    print(translate(_("{profile}: {outcome} (.venvs/{profile})", profile=environment, outcome=outcome)))


def _lock_named(environment: str, request: SetupRequest, sources: Sources) -> None:
    """Lock versions that a user named, unless they are locked already."""
    path = lock_path(environment)
    if path.exists() and not request.fresh:
        return
    print(translate(_("{profile}: locking versions that no lock of this bundle has", profile=environment)), flush=True)
    lock_here(environment, ("--index-strategy", "unsafe-best-match", *sources.arguments()))


def _require_lock(lock: Path) -> None:
    if lock.exists():
        return
    stack = load_stack()
    raise PythonVersionError(
        _("there is no lock for Python {python} on {machine}", python=this_python(), machine=this_machine()),
        why=_(
            "the declared stack supports Python {pythons} on x86_64 and aarch64 Linux",
            pythons=" and ".join(stack.pythons),
        ),
        next=_(
            "python{python} -m venv venv && . venv/bin/activate, then the main job again",
            python=stack.reference_python,
        ),
    )


def _require_sense(request: SetupRequest) -> None:
    substitute = request.substitute
    if substitute not in (None, NEAREST) and not unlocked_pins.is_version(str(substitute)):
        raise UsageError(
            _("--allow-substitute {version}: that is no version", version=substitute),
            next=_(
                "--allow-substitute, or {nearest}, or a version such as {example}",
                nearest=NEAREST,
                example=load_stack().packages["torch"],
            ),
        )
    if absent := [place for place in request.find_links if local_and_absent(place)]:
        raise UsageError(
            _("--find-links {folder}: there is no such folder", folder=absent[0]), next=f"ls -d {absent[0]}"
        )
    if request.offline and not request.sources.find_links:
        raise UsageError(
            _("--offline needs a folder of wheels"),
            next=_("nox -s wheelhouse on a connected machine; then nox -s setup -- --offline --wheelhouse DIR"),
        )


def _look_at(host: Host, request: SetupRequest, profile: str) -> None:
    """Judge the machine before anything is downloaded; the bundle's own environments run on any.

    Raises:
        BundleError: what the profile needs is not there.
    """
    from env.audit.preflight import preflight

    if profile != "tools":  # which imports no torch
        system_libraries.require()
    if profile in SERVICE:
        return
    torch_npu = None if request.substitute == NEAREST else request.substitute
    try:
        preflight(host, load_stack().named(request.stack), request.device, profile, torch_npu=torch_npu)
    except StorageError:
        if not builder.is_built(environment_name(profile, request.stack)):  # what stands needs no more room
            raise


def _verify_wheelhouse(profile: str, request: SetupRequest) -> None:
    """Verify every hash of the wheelhouse, unless everything stands already and nothing will be taken from it."""
    if request.wheelhouse is None or not request.offline:
        return
    needed = {profile} if profile in SERVICE else {profile, "tools"}
    if request.fresh or not all(builder.is_built(name) for name in needed):
        wheelhouse.verify(request.wheelhouse, wheelhouse.Target(profile, this_machine(), this_python()))


def _installer(name: str) -> Installer:
    try:
        return choose(name)
    except LookupError as error:
        raise InstallError(
            _("{installer} is not installed", installer=str(error)), next="pip install -r requirements/nox.txt"
        ) from error


def canns(torch_npu: str) -> str:
    """The CANN releases that a published torch-npu pairs with: "(CANN 8.5.0)"."""
    from env.audit.compat import load_compat

    pairs = [pair.cann for pair in load_compat().canns(torch_npu)]
    return f"(CANN {', '.join(pairs)})" if pairs else ""


def _locate(environment: str, request: SetupRequest, sources: Sources) -> list[Located]:
    """The pins that no lock holds: as the environment has them, else wherever a source does."""
    profile = profile_and_stack(environment)[0]
    if profile in SERVICE:
        return []
    pins = load_stack().profiles[profile].unlocked_on(this_machine())
    return _standing(environment, pins, request, sources) or unlocked_pins.locate(
        pins,
        sources,
        python=this_python(),
        machine=this_machine(),
        substitute=request.substitute,
        explain=canns,
    )


def _standing(environment: str, pins: Sequence[UnlockedPin], request: SetupRequest, sources: Sources) -> list[Located]:
    """The unlocked pins as the current environment has them, so that a second setup asks no index again.

    Nothing where it is to be made anew, where something nearer has appeared (the image's torch-npu was upgraded), or
    where it holds a substitute that is not allowed this time.
    """
    standing = [] if request.fresh else list(builder.standing(environment))
    if [(have.name, have.pinned) for have in standing] != [(pin.name, pin.version) for pin in pins]:
        return []
    base = unlocked_pins.base_site_packages()
    for pin, have in zip(pins, standing, strict=True):
        if have.substituted and not _allows(request.substitute, have.version):
            return []
        near = unlocked_pins.at_hand(pin, sources.find_links, this_python(), this_machine(), base)
        if near and (near.version, near.source, near.sha256) != (have.version, have.source, have.sha256):
            return []
    return standing


def _allows(substitute: str | None, version: str) -> bool:
    """Whether --allow-substitute, as `substitute`, lets this version stand in for the pin."""
    return substitute is not None and (substitute == NEAREST or unlocked_pins.same_release(substitute, version))


def setup(request: SetupRequest, folder: Path | None, command: str) -> None:
    """Run setup and leave setup.json in the run's folder, whatever happens; without a folder, nothing.

    The record is there from the start, as one that did not end: a kill leaves it so, and a folder that cannot be
    written stops setup before it downloads.

    Raises:
        BundleError: what stopped it, after it is recorded.
    """
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    clock = time.monotonic()
    data: dict[str, Any] = {}
    status, reason = "error", _("stopped before it ended")

    def keep() -> None:
        if folder is not None:
            record = {
                "schema": SCHEMA,
                "status": status,
                "reason": as_message(altered(reason, without_whose)).as_json(),
                "started": started,
                "seconds": round(time.monotonic() - clock, 3),
                "command": command,
                "data": data,
            }
            write_json(folder / SETUP_FILE, record)

    keep()
    try:
        for figures in prepare(request):
            data |= figures
        status, reason = "pass", Message("")
    except BundleError as error:
        status, reason = "fail", error.message
        raise
    except KeyboardInterrupt:
        reason = _("interrupted")
        raise
    finally:
        keep()


def without_whose(text: str) -> str:
    """A reason without credentials, and without the folders of whoever ran setup."""
    return without_home(redacted(text).replace(str(ROOT), "<bundle>"))


def make_parser() -> Parser:
    return main_job_parser(
        "python -m env setup", _("Check the machine and build the pinned environment."), own=("target", "run", "setup")
    )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(arguments)
    folder = run_folder(options.results, options.run) if options.run else None
    command = repeating("setup", map(_without_secrets, arguments))
    with nothing_left():
        setup(SetupRequest.from_options(options), folder, command)
    return 0


def _without_secrets(argument: str) -> str:
    """What was typed as the record keeps it: an index address without user and password."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + (without_credentials(value) if "://" in value else value)
