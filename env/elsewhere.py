"""What comes from elsewhere is read here and nowhere else: another machine's files, a checkpoint's, a user's.

A pipe, a device or a socket is refused and never waited for; what is larger than its kind allows (elsewhere.toml) is
not read; a link may lead no farther than the folder that is named as its root; JSON is held to a depth, to numbers of a
few digits and to text that can be written again. Everything that is wrong is an OSError or a ValueError with a message,
as the standard library's own are, so that whoever reads names the file and goes on.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from env.language import Message, _
from env.toml import load_toml

DEPTH = 64  # of JSON: records nest 9 deep, messages in messages among them
DIGITS = 40  # of a number: float64 is written with 17, an int64 with 19; sizes of files are smaller
_TABLE = Path(__file__).with_suffix(".toml")


class RefusedFileError(OSError):
    """A file that is not read: no regular one, too large, or outside its root. `strerror` is a message."""

    def __init__(self, number: int, why: Message, path: Path | str) -> None:
        super().__init__(number, why, str(path))


class BadJsonError(ValueError):
    """JSON that is not read. `problem` is a message."""

    def __init__(self, problem: Message) -> None:
        super().__init__(problem)
        self.problem = problem


class BeyondLimitsError(BadJsonError):
    """JSON that another reader would take, and this one does not."""


@cache
def limit(kind: str) -> int:
    """The most bytes that a file of a kind may have. Raises: KeyError, of no kind in elsewhere.toml."""
    table: dict[str, Any] = load_toml(_TABLE)
    return int(table[kind]["bytes"])


def descriptor(path: Path | str, *, root: Path | None = None, follow: bool = True) -> int:
    """An open descriptor of a regular file; `root` is the folder that links must not leave.

    Raises:
        RefusedFileError: it is something else, or lies elsewhere.
        OSError: it cannot be opened. A NUL or a lone surrogate in its name is one as well.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY  # a pipe would be waited for otherwise
    try:
        if root is not None:
            _hold_inside(Path(path), root)
        opened = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), ascii(str(path))) from error
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return opened
    os.close(opened)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise RefusedFileError(errno.EINVAL, _("not a regular file"), path)


def _hold_inside(path: Path, root: Path) -> None:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise RefusedFileError(errno.EXDEV, _("a link leads out of {folder}", folder=root.name or "/"), path)


@contextlib.contextmanager
def opened(path: Path | str, *, root: Path | None = None) -> Iterator[BinaryIO]:
    """A regular file to be read in pieces, of whatever size. Raises: as `descriptor`."""
    with os.fdopen(descriptor(path, root=root), "rb") as file:
        yield file


def read_bytes(path: Path | str, kind: str, *, root: Path | None = None, follow: bool = True) -> bytes:
    """A whole regular file of a kind in elsewhere.toml.

    Raises:
        RefusedFileError: it is larger than its kind allows, or as `descriptor`.
        OSError: it cannot be read.
    """
    with os.fdopen(descriptor(path, root=root, follow=follow), "rb") as file:
        return limited(file, kind, path)


def limited(file: BinaryIO | gzip.GzipFile, kind: str, name: Path | str = "-") -> bytes:
    """What a stream holds, as far as its kind allows. Raises: as `read_bytes`."""
    most = limit(kind)
    data = file.read(most + 1)
    if data is None:  # /proc/kmsg says that it is a regular file, and lets its readers wait
        raise RefusedFileError(errno.EAGAIN, _("not a regular file"), name)
    if len(data) > most:
        raise RefusedFileError(errno.EFBIG, _("larger than {mebibytes} MiB", mebibytes=most >> 20), name)
    return data


def unpacked(data: bytes, kind: str, name: Path | str = "-") -> bytes:
    """What a gzip file holds, which may be a thousand times what it takes, as far as its kind allows.

    Raises:
        RefusedFileError: it is more.
        OSError, EOFError, zlib.error: it is damaged.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
        return limited(packed, kind, name)


def read_text(path: Path | str, kind: str, *, root: Path | None = None, errors: str = "strict") -> str:
    """A whole regular file as UTF-8. Raises: as `read_bytes`; UnicodeDecodeError, where `errors` is "strict"."""
    return read_bytes(path, kind, root=root).decode("utf-8", errors)


def read_json(path: Path | str, kind: str, *, root: Path | None = None) -> Any:
    """A whole regular file as JSON. Raises: as `read_text` and `parse_json`."""
    return parse_json(read_text(path, kind, root=root))


def parse_json(text: str | bytes, *, constant: Callable[[str], Any] | None = None, surrogates: bool = False) -> Any:
    """JSON within the limits of this module. `constant` takes NaN and the infinities, which are refused otherwise.

    Raises:
        BadJsonError: it is no JSON, or deeper, longer in a number or less writable than anything legitimate.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        value = _decoder(constant or _refuse).decode(text)
    except RecursionError:
        raise BeyondLimitsError(_("nested too deeply")) from None
    except BadJsonError:
        raise
    except ValueError as error:
        raise BadJsonError(Message(str(error))) from error
    if not _is_shallow(text, surrogates=surrogates):
        _hold_plain(value, surrogates=surrogates)
    return value


@cache
def _decoder(constant: Callable[[str], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(parse_int=_whole, parse_float=_number, parse_constant=constant)


def _is_shallow(text: str, *, surrogates: bool) -> bool:
    """Whether the text alone shows that nothing in it is too deep or half a character, as of most lines of a file."""
    if text.count("[") + text.count("{") > DEPTH:
        return False
    return surrogates or (_is_writable(text) and "\\u" not in text)


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise BeyondLimitsError(_("a number of {count} digits", count=len(text)))
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BeyondLimitsError(_("a number beyond all floats: {start}", start=text[:DIGITS]))
    return value


def _refuse(text: str) -> float:
    raise BeyondLimitsError(_("{constant} is no JSON", constant=text))


def _hold_plain(value: Any, *, surrogates: bool) -> None:
    """Depth and texts, without recursion."""
    level, depth = [value], 0
    while level:
        if depth > DEPTH:
            raise BeyondLimitsError(_("nested too deeply"))
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str) and not surrogates and not _is_writable(each):
                raise BeyondLimitsError(_("a text with half a character"))
        level, depth = below, depth + 1


def _is_writable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
