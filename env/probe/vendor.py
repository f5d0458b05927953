"""The vendor's own file formats, read: version.info, *_install.info, version.cfg and what the driver's tools print.

Every function takes any text and never raises; what is not there is simply not in the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_CFG = re.compile(r"(?P<part>[a-z0-9_]+?)_(?P<state>running|upgrade|installed)_version\Z")
_UPGRADE_TOOL = re.compile(
    r'"device_id"\s*:\s*(?P<device>[0-9]{1,6})\s*,\s*"component"\s*:\s*"?(?P<component>[\w-]+)"?\s*,'
    r'\s*"version"\s*:\s*"?(?P<version>[\w.]+)"?'
)
_FAMILY = re.compile(r"V[0-9]{3}R[0-9]{3}C[0-9]{2}", re.IGNORECASE)


@dataclass(frozen=True)
class Component:
    """One line of `upgrade-tool --device_index -1 --component -1 --version`."""

    device: int
    component: str
    version: str


def assignments(text: str) -> dict[str, str]:
    """`key=value` lines (version.info, *_install.info, version.cfg). Quotes around a value are dropped, the first of
    two equal keys counts, lines that begin with # do not.
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and key and not key.startswith("#"):
            fields.setdefault(key.strip(), value.strip().strip("\"'"))
    return fields


def labels(text: str) -> dict[str, str]:
    """`key : value` lines (NNAL's version.info, `npu-smi info -t ...`)."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip():
            fields.setdefault(key.strip(), value.strip())
    return fields


def bracketed(text: str) -> tuple[str, ...]:
    """The items of "[a],[b,c]": ("a", "b,c"), blanks dropped."""
    return tuple(item for item in (re.sub(r"\s", "", each) for each in _BRACKETS.findall(text)) if item)


def ranges(text: str) -> tuple[tuple[str, str], ...]:
    """The pairs of "[7.0.0,7.7.99]" or "[23.0.0,23.0.0.],[24.0,24.0.]"; an item alone is a range of itself."""
    pairs = []
    for item in bracketed(text):
        low, _, high = item.partition(",")
        pairs.append((low, high or low))
    return tuple(pairs)


def part_versions(text: str) -> dict[str, str]:
    """version.cfg: part -> "build:release" of the running state, else of the installed one ("7.6.0.1.220:8.0.0")."""
    states: dict[str, dict[str, str]] = {}
    for key, value in assignments(text).items():
        match = _CFG.match(key)
        if match:
            states.setdefault(match["part"], {})[match["state"]] = value.strip("[]")
    chosen = {part: state.get("running") or state.get("installed") or "" for part, state in states.items()}
    return {part: version for part, version in chosen.items() if version}


def components(text: str) -> tuple[Component, ...]:
    """What upgrade-tool printed: text that looks like JSON and is not."""
    return tuple(
        Component(int(match["device"]), match["component"], match["version"]) for match in _UPGRADE_TOOL.finditer(text)
    )


def family(innerversion: str) -> str | None:
    """The family of an inner version: V100R001C23SPC002B212 -> V100R001C23."""
    match = _FAMILY.match(innerversion.strip())
    return match[0].upper() if match else None


def family_inside(family: str, families: tuple[str, ...]) -> bool:
    """Whether a family is one of compatible_version's items or lies in one of its ranges "A,B"."""
    for item in families:
        low, comma, high = (part.upper() for part in item.partition(","))
        if family == low or (comma and low <= family <= high and low[:8] == family[:8]):
            return True
    return False
