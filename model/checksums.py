"""SHA256SUMS beside the weights: whether a checkpoint's files are those that it lists. No torch.

Headers say that a folder holds this architecture, not whose values: one tensor of another training fits as well, and
is then its own reference. The format is that of sha256sum (coreutils), which makes the file and checks it anywhere.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from env import elsewhere
from env.atomic import write_text
from env.errors import CheckpointError
from env.language import Message, _
from model.checkpoint import LISTED, Checkpoint, file_sha256
from model.console import lines

SHA256SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
SHOWN = 100  # characters of an unreadable line: a web page saved under this name has long ones


def compare(checkpoint: Checkpoint, cache: Path | None = None) -> tuple[str, ...] | None:
    """The names of the files, all of them as SHA256SUMS lists them; None where the folder has no such file.

    `cache` keeps the digests of the weights as `weights_sha256` does: a bit that rots in a file that was read before
    changes neither its size nor its time, and shows in `sha256sum -c` alone.

    Raises:
        CheckpointError: a listed file is missing or another one, weights are not listed, or the list is unreadable;
            every problem is listed.
    """
    folder = checkpoint.folder
    listed: dict[str, str] = {}
    try:
        listed, problems = parse(elsewhere.read_text(folder / SHA256SUMS, "list of sums"))
    except FileNotFoundError:
        return None
    except OSError as error:
        problems = [_("{name} cannot be read: {reason}", name=SHA256SUMS, reason=error.strerror)]
    except ValueError:
        problems = [_("{list} is no text", list=SHA256SUMS)]
    else:
        problems += _against_files(checkpoint, listed, cache)
    if problems:
        raise CheckpointError(
            lines(
                _("the checkpoint in {folder} is not what its {list} lists:", folder=folder, list=SHA256SUMS),
                *problems,
                before="\n  - ",
            ),
            why=_("files of another version, a changed or damaged file, or the list of another folder"),
            next=f"cd {shlex.quote(str(folder))} && sha256sum -c {SHA256SUMS}",
        )
    return tuple(listed)


def parse(text: str) -> tuple[dict[str, str], list[Message]]:
    """The digest of each name that a list holds, and what is wrong with its lines.

    A line is 64 hexadecimal digits, a space, a space or an asterisk, and a name relative to the list's folder.
    """
    listed: dict[str, str] = {}
    unreadable: list[Message] = []
    problems: list[Message] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None or not match[2].isprintable():
            start = repr(line[:SHOWN])
            unreadable.append(
                _("{list} line {number} is unreadable: {start}", list=SHA256SUMS, number=number, start=start)
            )
            continue
        digest, path = match[1].lower(), PurePosixPath(match[2])
        if path.is_absolute() or ".." in path.parts:
            problems.append(
                _("{list} line {number} leaves the folder: {path}", list=SHA256SUMS, number=number, path=path)
            )
        elif listed.setdefault(str(path), digest) != digest:
            problems.append(
                _(
                    "{list} line {number} lists {path} again, with another sha256",
                    list=SHA256SUMS,
                    number=number,
                    path=path,
                )
            )
    if len(unreadable) > LISTED:
        more = len(unreadable) - LISTED
        unreadable[LISTED:] = [_("{more} more lines of {list} are unreadable", more=more, list=SHA256SUMS)]
    return listed, unreadable + problems


def _against_files(checkpoint: Checkpoint, listed: Mapping[str, str], cache: Path | None) -> list[Message]:
    """What is wrong with the listed files, and the weights that are there unlisted, whether the index names them or
    not: a loader may prefer a file that the index does not know.
    """
    folder = checkpoint.folder
    weights = {path.relative_to(folder).as_posix() for path in (*checkpoint.shards, *folder.glob("*.safetensors"))}
    problems = []
    for name, digest in listed.items():
        try:
            actual = file_sha256(folder / name, cache if name in weights else None)
        except FileNotFoundError:
            problems.append(_("{name} is missing", name=name))
        except OSError as error:
            problems.append(_("{name} cannot be read: {reason}", name=name, reason=error.strerror))
        else:
            if actual != digest:
                problems.append(
                    _(
                        "{name} differs: sha256 {listed}... is listed, the file has {actual}...",
                        name=name,
                        listed=digest[:12],
                        actual=actual[:12],
                    )
                )
    return problems + [_("{name} is not listed", name=name) for name in sorted(weights - set(listed))]


def write(folder: Path, leave_out: Collection[str] = ()) -> None:
    """List every file of the folder but hidden ones, the list itself and those to leave out.

    Raises:
        StorageError: the list cannot be written.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    listed = [name for name in names if name != SHA256SUMS and name not in leave_out]
    write_text(folder / SHA256SUMS, "".join(f"{file_sha256(folder / name)}  {name}\n" for name in listed))
