"""Files as people name them: their names in either Unicode form, folders, patterns, standard input; no address."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from env.errors import InputError, UsageError
from env.language import _

STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
# What people keep recordings in; any file may be named, a folder gives those with one of these endings.
# libsndfile's (its documentation, "Formats"), and the containers that FFmpeg knows.
AUDIO_SUFFIXES = frozenset((
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64",
    ".sph", ".nist", ".voc", ".m4a", ".mp4", ".webm", ".aac", ".wma", ".amr", ".gsm", ".mka", ".mkv", ".mov",
    ".al", ".alaw", ".ul", ".ulaw", ".mulaw", ".vox", ".3gp", ".ac3", ".wv", ".avi", ".flv",
))  # fmt: skip
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/")  # two letters at least: C:/ is a drive


def scheme(text: str) -> str | None:
    """The scheme of an address on a network; None for a path, and for a file: address, which is one."""
    match = _ADDRESS.match(text)
    return match[1].lower() if match and match[1].lower() != "file" else None


def refuse_address(text: str) -> None:
    """Refuse an address.

    Raises:
        UsageError: it is one.
    """
    if scheme(text) is not None:
        raise UsageError(
            _("{address} is an address: nothing is downloaded here", address=text),
            next=_("fetch the file with a tool of your choice, and name it here"),
        )


def locate(text: str, folders: Sequence[Path] = (Path(),)) -> Path:
    """Where a path as it is written leads: the first of `folders` that has it, else the place in the first of them.

    A name that is there in another Unicode form (NFC, NFD: what Linux and macOS write) is the same name, a backslash
    may stand for a slash, `~` for the home folder, and file:///a is /a.
    """
    plain = text.partition("://")[2] if text.startswith("file://") else text
    written = str(Path(plain).expanduser()) if plain.startswith("~") else plain
    # A manifest has 100,000 of them and more: strings take a fifth of the time of paths.
    places = [os.path.join(folder, written) for folder in folders]  # noqa: PTH118
    if "\\" in plain:
        places += [os.path.join(folder, plain.replace("\\", "/")) for folder in folders]  # noqa: PTH118
    for place in places:
        if os.path.exists(place):  # noqa: PTH110 (False of a name that no file can have)
            return Path(place)
    for place in () if plain.isascii() else places:
        other = _in_another_form(Path(place))
        if other is not None:
            return other
    return Path(places[0])


def is_there(path: Path) -> bool:
    """Whether a path leads to something; one that no file can have does not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, a NUL in it
        return False


def _in_another_form(path: Path) -> Path | None:
    """A path that is there and differs from `path` in nothing but its Unicode form."""
    there = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        step = there / part
        if not is_there(step):
            form = unicodedata.normalize("NFC", part)
            alike = [each for each in _names(there) if unicodedata.normalize("NFC", each) == form]
            if not alike:
                return None
            step = there / alike[0]
        there = step
    return there


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def recordings_in(folder: Path) -> list[Path]:
    """The files below a folder that are named as recordings, in the order of their paths; hidden ones are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def expand(words: Sequence[str]) -> list[Path]:
    """The recordings that words of a command line name: files, folders, patterns that no shell has expanded.

    Each once, in the order of the words. A file that is not there stays, to be told in its turn.

    Raises:
        UsageError: a word is an address.
        InputError: a folder holds no recording, or a pattern meets none.
    """
    return list(dict.fromkeys(path for word in words for path in _expanded(word)))


def _expanded(word: str) -> Iterator[Path]:
    refuse_address(word)
    path = locate(word)
    if path.is_dir():
        inside = recordings_in(path)
        if not inside:
            raise InputError(
                _("{path}: holds no recordings", path=path),
                why=_("no file below it ends in one of {suffixes}", suffixes=" ".join(sorted(AUDIO_SUFFIXES))),
                next=f"ls {path}",
            )
        yield from inside
    elif path.exists() or not glob.has_magic(word):
        yield path
    else:
        pattern = str(Path(word).expanduser())  # it may be absolute, which Path.glob is not
        matches = sorted(Path(match) for match in glob.glob(pattern, recursive=True))  # noqa: PTH207
        files = [match for match in matches if match.is_file()]
        if not files:
            raise InputError(_("{pattern}: no file is named like this", pattern=word), next=f"ls {path.parent}")
        yield from files
