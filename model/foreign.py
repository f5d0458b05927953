"""What a file is that cannot be read as audio, by what it begins with, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from env import elsewhere
from env.errors import InputError
from env.language import Message, _
from env.toml import load_toml

HEAD_BYTES = 4096
PRINTABLE_SHARE = 0.95  # of the characters of what is called text


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    return tuple(load_toml(Path(__file__).parent / "foreign_files.toml")["file"])


def row_for(head: bytes) -> Mapping[str, Any] | None:
    """The row of foreign_files.toml for a file that begins with `head`."""
    for row in _rows():
        if head[row["offset"] :].startswith(bytes.fromhex(row["magic"])):
            return row
    return None


def shell(path: str | Path) -> str:
    """A file's name as a shell and then a program take it: quoted; no option, no address, whatever it begins with."""
    text = str(path)
    if text.startswith("-") or (":" in text and not text.startswith(("/", "."))):
        text = f"./{text}"
    return shlex.quote(text)


def converted(path: Path) -> str:
    """The name, for a shell, of a WAV made from `path`: never that of `path` itself."""
    return shell(f"{path.stem}-16k.wav")


def as_text(head: bytes) -> str | None:
    """The beginning of a text file; None for what is none. A character that `head` cuts in two does not count."""
    for encoding in ("utf-8", "utf-16"):
        if encoding == "utf-16" and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        text = head.decode(encoding, "replace").rstrip("\ufffd")
        readable = sum(mark.isprintable() or mark.isspace() for mark in text if mark != "\ufffd")
        if text and readable >= PRINTABLE_SHARE * len(text):
            return text
    return None


def not_audio(path: Path, detail: str, *, pyav: str | None, pyav_is_there: bool) -> InputError:
    """The error for a file that no decoder takes. `detail` is what libsndfile says, `pyav` what PyAV says to it."""
    with elsewhere.opened(path) as file:
        head = file.read(HEAD_BYTES)
    row = row_for(head)
    what = _("{path}: cannot be read as audio", path=path)
    if row is not None:
        next_step = row["next"].format(path=shell(path), wav=converted(path), stem=shlex.quote(path.stem))
        why = _("it is {kind}", kind=Message(row["name"]))
        if pyav is not None:
            why = _("{why}, and PyAV cannot decode it: {detail}", why=why, detail=pyav)
        elif row.get("pyav") and not pyav_is_there:
            return InputError(what, why=why, next=_("{command}; or pip install av", command=next_step))
        return InputError(what, why=why, next=next_step)
    text = as_text(head)
    if text is not None:
        return InputError(
            what, why=_("it holds text, beginning {text}", text=repr(text[:40])), next=f"file {shell(path)}"
        )
    why = _("no format that libsndfile knows ({detail}); headerless PCM needs a WAV header", detail=detail)
    command = f"ffmpeg -f s16le -ar 16000 -ac 1 -i {shell(path)} {converted(path)}"
    return InputError(what, why=why, next=_("{command}, where it is 16-bit samples at 16 kHz", command=command))
