"""The two installers behind one interface: uv where it is present, pip otherwise.

Both read what the user configured. uv does not read pip's configuration, so its indexes are handed over.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse, urlsplit, urlunsplit
from urllib.request import url2pathname

from env.runner import Runner, run


@dataclass(frozen=True)
class Sources:
    """Where packages may come from, as the user said: options first, then environment and pip's configuration."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    network: Mapping[str, str] = field(default_factory=dict)  # pip's other settings in uv's words: variables

    def arguments(self) -> list[str]:
        """The same words for pip and for uv."""
        words: list[str] = []
        if self.offline:
            words.append("--no-index")
        else:
            if self.index_url:
                words += ["--index-url", self.index_url]
            for url in self.extra_index_urls:
                words += ["--extra-index-url", url]
        for place in self.find_links:
            words += ["--find-links", place]
        return words


@dataclass(frozen=True)
class Installer:
    """Makes a virtual environment and installs into it. `name` is "uv" or "pip"."""

    name: str
    program: tuple[str, ...]

    def variables(self, sources: Sources) -> dict[str, str]:
        """What to set where the user has not: uv knows nothing of pip's network settings, and must fetch no Python."""
        return {"UV_PYTHON_DOWNLOADS": "never", **sources.network} if self.name == "uv" else {}

    def venv_command(self, path: Path, python: str) -> list[str]:
        if self.name == "uv":
            return [*self.program, "venv", "--quiet", "--no-project", "--python", python, str(path)]
        return [python, "-m", "venv", str(path)]

    def install_command(self, python: Path, words: Sequence[str], sources: Sources) -> list[str]:
        """The command that installs `words` (requirements or options) into the environment of `python`."""
        if self.name == "uv":
            # pip looks at every index; uv stops at the first one that has the name. The pins carry hashes.
            command = [*self.program, "pip", "install", "--python", str(python)]
            command += ["--index-strategy", "unsafe-best-match"]
        else:
            command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        return [*command, "--only-binary", ":all:", *sources.arguments(), *words]


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
        LookupError: uv was asked for by name and is not installed, or does not run.
    """
    uv = find_uv() if name in ("auto", "uv") else None
    if uv and runner([uv, "--version"]).ok:
        return Installer("uv", (uv,))
    if name == "uv":
        raise LookupError("uv")
    return Installer("pip", ())


def local_and_absent(place: str) -> bool:
    """Whether `place` is a folder of this machine that does not exist. pip warns of it; uv would stop."""
    url = urlparse(place)
    if url.scheme == "file":
        return not Path(url2pathname(url.path)).exists()
    return not url.scheme and not Path(place).exists()


def configured(given: Sources, *, runner: Runner = run, environ: Mapping[str, str] | None = None) -> Sources:
    """`given`, completed with what pip is configured to use (its files and PIP_* variables).

    An option beats the configuration, as it does for pip. Where neither pip nor an option says it, uv's variables do,
    for whoever searches or installs. Folders that do not exist are left out.
    """
    environ = os.environ if environ is None else environ
    # pip lists its settings by name; what counts is: variables over what is said of `install` over `global`.
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
    index_url = given.index_url or settings.get("index-url")
    extra = (*given.extra_index_urls, *settings.get("extra-index-url", "").split())
    links = [*given.find_links, *settings.get("find-links", "").split()]
    if given.offline:
        links = [place for place in links if urlparse(place).scheme in ("", "file")]
    return Sources(
        index_url=index_url,
        extra_index_urls=tuple(dict.fromkeys(url for url in extra if not local_and_absent(url))),
        find_links=tuple(dict.fromkeys(place for place in links if not local_and_absent(place))),
        offline=given.offline,
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
    """What uv's variables say of indexes and folders, in pip's words; an index there may be written NAME=URL."""
    found = {}
    for option, variables in UV_VARIABLES.items():
        places = [place for variable in variables for place in re.split(r"[\s,]+", environ.get(variable, "")) if place]
        if places:
            found[option] = " ".join(re.sub(r"^[\w.-]+=", "", place) for place in places)
    if "index-url" in found:
        found["index-url"] = found["index-url"].split()[0]
    return found


def _network(settings: Mapping[str, str]) -> dict[str, str]:
    """Pip's certificates, proxy, trusted hosts and time-out for uv, which reads none of them.

    Without a certificate file of its own, pip trusts what the system trusts; so shall uv (its own variable, older and
    newer name).
    """
    said = {variable: settings[option] for option, variable in NETWORK.items() if option in settings}
    return {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"} | said


def without_credentials(url: str) -> str:
    """An index address as it may be shown: without the user and password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
