"""The two installers behind one protocol: uv where it is present, pip otherwise.

Both read what the user configured. uv does not read pip's configuration, so its indexes are handed over.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import urlparse, urlsplit, urlunsplit
from urllib.request import url2pathname

from env.doctor import diagnose
from env.language import _
from env.runner import Runner, run

WHEELS_ONLY = ("--only-binary", ":all:")  # nothing is built from source


@dataclass(frozen=True)
class Sources:
    """Where packages may come from: options first, then environment and pip's configuration."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    network: Mapping[str, str] = field(default_factory=dict)  # pip's other settings in uv's terms: variables

    def arguments(self) -> list[str]:
        """The options that name these sources, the same for pip and for uv."""
        options: list[str] = []
        if self.offline:
            options.append("--no-index")
        else:
            if self.index_url:
                options += ["--index-url", self.index_url]
            for url in self.extra_index_urls:
                options += ["--extra-index-url", url]
        for place in self.find_links:
            options += ["--find-links", place]
        return options


class Installer(Protocol):
    """Makes a virtual environment and installs into it."""

    @property
    def name(self) -> str:
        """As records have it: "uv" or "pip"."""

    def variables(self, sources: Sources) -> dict[str, str]:
        """What to set in its environment where the user has not."""

    def venv_command(self, path: Path, python: str) -> list[str]:
        """The command that makes an environment at `path` for the interpreter `python`."""

    def install_command(self, python: Path, requirements: Sequence[str], sources: Sources) -> list[str]:
        """The command that installs `requirements` (names, files, options) into the environment of `python`."""

    def attempts(self, sources: Sources) -> list[Sources]:
        """The sources to install a lock from, the next where the one before lacks a pin."""


@dataclass(frozen=True)
class Pip:
    """The interpreter's own pip. It compares the wheels of all indexes."""

    name: ClassVar[str] = "pip"

    def variables(self, sources: Sources) -> dict[str, str]:
        return {}

    def venv_command(self, path: Path, python: str) -> list[str]:
        return [python, "-m", "venv", str(path)]

    def install_command(self, python: Path, requirements: Sequence[str], sources: Sources) -> list[str]:
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        return [*command, *WHEELS_ONLY, *sources.arguments(), *requirements]

    def attempts(self, sources: Sources) -> list[Sources]:
        return [sources]


@dataclass(frozen=True)
class Uv:
    """uv, of which `program` is the command.

    It takes a version from the first index that has it, extra ones before the main one, whatever its wheel: a partial
    mirror may hold only one that lacks what this platform needs (soundfile's "none-any" wheel has no libsndfile). The
    hashes say what a file is, not where it is from, so the main index alone comes first, and all of them where that
    lacks a pin.
    """

    program: tuple[str, ...]
    name: ClassVar[str] = "uv"

    def variables(self, sources: Sources) -> dict[str, str]:
        """Pip's network settings, of which uv knows nothing; and it must fetch no Python."""
        return {"UV_PYTHON_DOWNLOADS": "never", **sources.network}

    def venv_command(self, path: Path, python: str) -> list[str]:
        return [*self.program, "venv", "--quiet", "--no-project", "--python", python, str(path)]

    def install_command(self, python: Path, requirements: Sequence[str], sources: Sources) -> list[str]:
        command = [*self.program, "pip", "install", "--python", str(python)]
        # pip looks at every index; uv stops at the first one that has the name. The pins carry hashes.
        command += ["--index-strategy", "unsafe-best-match"]
        return [*command, *WHEELS_ONLY, *sources.arguments(), *requirements]

    def attempts(self, sources: Sources) -> list[Sources]:
        if sources.extra_index_urls and not sources.offline:
            return [replace(sources, extra_index_urls=()), sources]
        return [sources]


def find_uv() -> str | None:
    """Find uv: beside the running interpreter (pip installs it there), else on PATH."""
    beside = Path(sysconfig.get_path("scripts"), "uv")
    if beside.is_file():
        return str(beside)
    return shutil.which("uv")


def choose(name: str = "auto", *, runner: Runner = run) -> Installer:
    """The installer called `name`; "auto" takes uv where it is present and runs.

    A uv that is there need not run: some kernels have pages that its memory allocator was not built for, some folders
    are mounted noexec.

    Raises:
        LookupError: uv is named and is not installed, or does not run.
    """
    uv = find_uv() if name in ("auto", "uv") else None
    if uv and runner([uv, "--version"]).ok:
        return Uv((uv,))
    if name == "uv":
        raise LookupError("uv")
    return Pip()


def local_and_absent(place: str) -> bool:
    """Whether `place` is a folder of this machine that does not exist. pip warns of it; uv would stop."""
    url = urlparse(place)
    if url.scheme == "file":
        return not Path(url2pathname(url.path)).exists()
    return not url.scheme and not Path(place).exists()


def configured(sources: Sources, *, runner: Runner = run, environ: Mapping[str, str] | None = None) -> Sources:
    """The sources of the options, completed with what pip is configured to use (its files and PIP_* variables).

    An option beats the configuration, as it does for pip. Where neither pip nor an option says it, uv's variables do,
    for whoever searches or installs. Folders that do not exist are left out.
    """
    environ = os.environ if environ is None else environ
    # pip lists its settings by name; what counts is: variables over `install` over `global`.
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    listing = runner([sys.executable, "-m", "pip", "config", "list"], timeout=30.0, environ=environ)
    for line in listing.stdout.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.strip().partition(".")
        if equals and section in sections:
            sections[section][option] = value.strip().strip("'\"").replace("\\n", " ")
    settings = _uv_settings(environ) | {
        option: value for section in sections.values() for option, value in section.items()
    }
    extra = (*sources.extra_index_urls, *settings.get("extra-index-url", "").split())
    links = [*sources.find_links, *settings.get("find-links", "").split()]
    if sources.offline:
        links = [place for place in links if urlparse(place).scheme in ("", "file")]
    return Sources(
        index_url=sources.index_url or settings.get("index-url"),
        extra_index_urls=tuple(dict.fromkeys(url for url in extra if not local_and_absent(url))),
        find_links=tuple(dict.fromkeys(place for place in links if not local_and_absent(place))),
        offline=sources.offline,
        network=_network(settings),
    )


# What uv reads where pip reads its own: pip's option -> variables, the first beats the next.
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
}

# How the network is reached, as uv's environment says it: pip's option -> variable.
NETWORK = {
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


def _uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The indexes and folders of uv's variables, in pip's terms; an index there may be written NAME=URL."""
    settings = {}
    for option, variables in UV_VARIABLES.items():
        places = [place for variable in variables for place in re.split(r"[\s,]+", environ.get(variable, "")) if place]
        if places:
            settings[option] = " ".join(re.sub(r"^[\w.-]+=", "", place) for place in places)
    if "index-url" in settings:
        settings["index-url"] = settings["index-url"].split()[0]
    return settings


def _network(settings: Mapping[str, str]) -> dict[str, str]:
    """Pip's certificates, proxy, trusted hosts and time-out for uv, which reads none of them.

    Without a certificate file of its own, pip trusts what the system trusts; so shall uv (its own variable, older and
    newer name).
    """
    variables = {variable: settings[option] for option, variable in NETWORK.items() if option in settings}
    return {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"} | variables


def without_credentials(url: str) -> str:
    """An index address as it may be shown: without the user and password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def last_lines(text: str) -> str:
    """What the installer printed last, indented under our message."""
    lines = [line for line in text.splitlines() if line.strip()][-8:]
    return "\n        ".join(lines) or _("the installer said nothing")


def advice(text: str) -> str:
    """What the doctor advises on the most fundamental failure that it knows in `text`."""
    known = diagnose(text)
    if not known:
        return ""
    return _("{fix} ({id})", fix=_(known[0].failure.fix), id=known[0].failure.id)
