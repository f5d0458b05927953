"""Which configured package index has which pin for the running interpreter: the probe's only use of a network."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from env.installer import Sources, configured, without_credentials
from env.language import _
from env.probe.host import IndexAnswer
from env.runner import Completed, Runner, run
from env.stack import Stack, this_machine
from env.versions import public

DEFAULT = "default"  # no index is configured: pip's own
SECONDS = 60.0
_VERSIONS = re.compile(r"Available versions: (.+)")


@dataclass(frozen=True)
class Listing:
    """What `pip index versions` tells of one distribution.

    `versions`, newest first, for the running interpreter; empty with `error` None where the indexes know none.
    `error` is why there is no answer: pip's last line, or that this Python has no pip.
    """

    versions: tuple[str, ...] = ()
    error: str | None = None


def index_versions(
    name: str,
    options: Sequence[str] = (),
    *,
    runner: Runner = run,
    environ: Mapping[str, str] | None = None,
) -> Listing:
    """Ask the configured indexes for `name`; `options` are pip's own (`--index-url`, `--find-links`, ...).

    Never raises: an index that does not answer, or a Python without pip, is the listing's `error`.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--disable-pip-version-check", "--no-input"]
    answered = runner([*command, *options], timeout=SECONDS, environ=environ)
    match = _VERSIONS.search(answered.stdout)
    if match is not None:
        return Listing(tuple(word.strip() for word in match[1].split(",")))
    return Listing(error=None if "No matching distribution" in answered.stderr else _error(answered))


def ask_indexes(
    stack: Stack, *, runner: Runner = run, environ: Mapping[str, str] | None = None
) -> tuple[IndexAnswer, ...]:
    """Ask every index that pip is configured with, one by one, for every pin of the declared stack."""
    environ = os.environ if environ is None else environ
    sources = configured(Sources(), runner=runner, environ=environ)
    indexes = [sources.index_url, *sources.extra_index_urls]
    return tuple(_ask(url, name, pin, runner, environ) for url in dict.fromkeys(indexes) for name, pin in _pins(stack))


def _pins(stack: Stack) -> Iterator[tuple[str, str]]:
    """Declared releases, and those that stand apart from the locks on this machine (torch 2.9.0+cpu on x86_64)."""
    unlocked = {
        pin.name: pin.version for profile in stack.profiles.values() for pin in profile.unlocked_on(this_machine())
    }
    for name, version in (stack.packages | unlocked).items():
        if version[0].isdigit():  # a range is no pin
            yield name, version


def _ask(url: str | None, name: str, pin: str, runner: Runner, environ: Mapping[str, str]) -> IndexAnswer:
    options: tuple[str, ...] = ()
    if url is not None:
        options = ("--index-url", url)
        # A variable beats pip's files: the other indexes stay out of this answer.
        environ = {**environ, "PIP_EXTRA_INDEX_URL": url}
    listing = index_versions(name, options, runner=runner, environ=environ)
    shown = DEFAULT if url is None else without_credentials(url)
    if listing.error is not None:
        return IndexAnswer(shown, name, pin, None, error=listing.error)
    return IndexAnswer(shown, name, pin, any(_is(pin, version) for version in listing.versions), listing.versions)


def _is(pin: str, version: str) -> bool:
    """Whether an index's version is the pin: with its local part where it names one (2.9.0+cpu), else with any."""
    try:
        return SpecifierSet(f"=={pin}").contains(Version(version), prereleases=True)
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number
        return public(version) == pin


def _error(answered: Completed) -> str:
    lines = [line.strip() for line in answered.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else _("exit status {code}", code=answered.returncode)
