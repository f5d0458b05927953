"""The order of versions as Huawei writes them (CANN, HDK driver, firmware), and the public part of Python ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering

from packaging.version import Version as PythonVersion

# Order of what may stand at one place of a version: T < alpha < beta < RC < nothing more < a word < a number.
# "Nothing more" above RC makes X.Y.RC1 < X.Y; above alpha, X.Y.Z.alpha1 < X.Y.Z; below a number, X.Y.RC1 < X.Y.RC1.2
# (T < RC.alpha < RC < release: torch_npu's GetCANNInfo.cpp).
_STAGES = {"t": 0, "alpha": 1, "beta": 2, "rc": 3}
_END = 4
_WORD = 5
_NUMBER = 6
_TOKEN = re.compile(r"(?P<number>[0-9]{1,12})\Z|(?P<stage>t|alpha|beta|rc)(?P<count>[0-9]{0,12})\Z")
_SEPARATORS = re.compile(r"[.\-_+\s]+")

Key = tuple[tuple[int, int, str], ...]


@total_ordering
@dataclass(frozen=True)
class VendorVersion:
    """A CANN, driver or firmware version, ordered: 8.5.T1 < 8.5.RC1.alpha1 < 8.5.RC1 < 8.5.RC1.1 < 8.5.0 < 8.5.0.1.

    Letter case does not count, and 8.5 is 8.5.0. `text` is kept as it was written.
    """

    text: str = field(compare=False)
    key: Key

    def __lt__(self, other: VendorVersion) -> bool:
        return self.key < other.key

    def __str__(self) -> str:
        return self.text

    @property
    def known(self) -> bool:
        """False where the text holds no version at all."""
        return self.key[0][0] == _NUMBER

    def release(self, parts: int) -> tuple[int, ...]:
        """The leading numbers, at most `parts` of them: 25.0.rc1.1 -> (25, 0)."""
        numbers: list[int] = []
        for kind, number, _ in self.key[:parts]:
            if kind != _NUMBER:
                break
            numbers.append(number)
        return tuple(numbers)


def parse(text: str) -> VendorVersion:
    """Read a vendor version. Never raises: text without one is ordered below every version."""
    tokens: list[tuple[int, int, str]] = []
    for word in _SEPARATORS.split(text.strip().lower()):
        if not word:
            continue
        match = _TOKEN.match(word)
        if match is None:
            tokens.append((_WORD, 0, word))
        elif match["number"] is not None:
            tokens.append((_NUMBER, int(match["number"]), ""))
        else:
            tokens.append((_STAGES[match["stage"]], int(match["count"] or 0), ""))
    numbers = next((place for place, token in enumerate(tokens) if token[0] != _NUMBER), len(tokens))
    if 0 < numbers == len(tokens):
        # 8.5 is 8.5.0, and 8.5.0.0 too: pad to three numbers, drop zeros after the third.
        tokens += [(_NUMBER, 0, "")] * (3 - numbers)
        while len(tokens) > 3 and tokens[-1] == (_NUMBER, 0, ""):
            tokens.pop()
    return VendorVersion(text.strip(), (*tokens, (_END, 0, "")))


def inside(version: str, low: str, high: str) -> bool:
    """Whether `version` lies in the vendor's inclusive range [low, high].

    The upper bound counts with all that begins like it, as the files mean it: 7.7.99 takes in 7.7.99.1.231, and
    "24.0." (a prefix form: [24.0,24.0.]) takes in 24.0.3.
    """
    if parse(version) < parse(low):
        return False
    if parse(version) <= parse(high):
        return True
    prefix = high.rstrip(".").casefold() + "."
    return version.casefold().startswith(prefix)


_WILDCARD = re.compile(r"(\.[x*])+\Z", re.IGNORECASE)


def is_series(text: str) -> bool:
    """Whether a version is a whole series, as release notes ("25.5.X") or pins ("8.5.*") write it."""
    return _WILDCARD.search(text.strip()) is not None


def stem(text: str) -> str:
    """A series without its wildcard: "25.5.X" -> "25.5". A release as it is."""
    return _WILDCARD.sub("", text.strip())


def in_series(version: str, series: str) -> bool:
    """Whether `version` belongs to a series as release notes write it: 25.5.1 to "25.5.X", 8.5.1 to "8.5"."""
    prefix = stem(series)
    if parse(version) == parse(prefix):
        return True
    return version.strip().casefold().startswith(prefix.casefold() + ".")


def public(version: str) -> str:
    """A Python version without its local part (2.9.0.post1+gitee7ba04 -> 2.9.0.post1), or the text before "+"."""
    try:
        return PythonVersion(version).public
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number
        return version.partition("+")[0]


def base(version: str) -> str:
    """A Python version's release alone (2.9.0.post1+gitee7ba04 -> 2.9.0)."""
    try:
        return PythonVersion(version).base_version
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number
        return version.partition("+")[0]
