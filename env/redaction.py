"""Credentials out of what is written or shown: addresses with a user or a query, tokens by their prefix, named secrets.

`apart` hands them to a child program by its environment: nox prints every command that it runs, a failed one twice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

LEFT_OUT = "left-out"
HANDED_OVER = "BUNDLE_ARGUMENT_"  # begins the names of the variables that hold a program's arguments
_USER = re.compile(r"(?<=://)[^\s/@]{1,1000}@")
_QUERY = re.compile(r"(://[^\s?#\"'<>]{1,2000})\?[^\s\"'<>)]*")
# As their makers document them: GitHub ("token formats"), Hugging Face, AWS (IAM unique ids), GitLab, PyPI, Slack.
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_\w{16,255}|github_pat_\w{16,255}|hf_\w{16,100}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|glpat-[\w-]{16,100}|pypi-[\w-]{16,500}|xox[abprs]-[\w-]{10,100})"
)
_NAMED = re.compile(
    r"(?i)([\w-]{0,40}(?:secret|password|passwd|api[-_]?key|credential|auth[-_]?token)[\w-]{0,40}\s{0,3}[=:]\s{0,3})[^\s,;]+"
)


def redacted(text: str) -> str:
    """`text` without what looks like a credential."""
    text = _QUERY.sub(rf"\1?{LEFT_OUT}", _USER.sub(f"{LEFT_OUT}@", text))
    return _NAMED.sub(rf"\1{LEFT_OUT}", _TOKEN.sub(LEFT_OUT, text))


def apart(arguments: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Arguments in which those with a credential are names of variables, and the variables."""
    shown: list[str] = []
    variables: dict[str, str] = {}
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if redacted(value) == value:
            shown.append(argument)
            continue
        name = f"{HANDED_OVER}{len(variables)}"
        variables[name] = value
        shown.append(f"{option}{equals}{name}")
    return shown, variables


def restored(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[str]:
    """The inverse of `apart`, in the program that was called."""
    whole = []
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        known = environ.get(value) if value.startswith(HANDED_OVER) else None
        whole.append(argument if known is None else f"{option}{equals}{known}")
    return whole


def without_places(argument: str, root: Path) -> str:
    """An argument as a record keeps it: a path below `root` from there, of any other absolute path the name alone."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    path = Path(value.removeprefix("file://"))
    if not path.is_absolute() and not value.startswith("~"):
        return argument
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return f"{option}{equals}{shown or value}"


def without_home(text: str) -> str:
    """`text` with the home folder of whoever runs this as `~`. In containers it may be `/`, or none at all."""
    home = os.environ.get("HOME", "").rstrip("/")
    return text.replace(home, "~") if home else text
