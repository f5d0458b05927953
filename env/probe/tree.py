"""The files of a machine, this one's or a captured one's, read through one interface that remembers what was looked at.

Paths are those of the machine ("/etc/os-release"); links are followed inside its root, so a capture's absolute links
never lead out into the machine that reads it. Nothing raises: what is there and cannot be read is noted.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import posixpath
import stat
from pathlib import Path

from env import elsewhere
from env.language import _, as_message
from env.probe.host import Unread

KIND = "file of a machine"  # in elsewhere.toml
_LONGEST_PATH = 4096  # bytes, Linux' PATH_MAX: no longer one can be there
_MOST_LINKS = 40  # as Linux counts
# What the system has to say of a file that is there; listed here so that it is translated.
REASONS = (_("Permission denied"), _("Operation not permitted"), _("Input/output error"), _("Is a directory"))
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Tree:
    """A machine's files under `root`.

    `texts`, `kinds` and `links` hold all that was read, seen and followed: a capture is made of exactly that, so
    whatever the probe reads on a machine is in the capture too.
    """

    def __init__(self, root: Path | str = "/") -> None:
        self.root = Path(root)
        self.texts: dict[str, str] = {}
        self.kinds: dict[str, str] = {}  # "file" or "folder"
        self.links: dict[str, str] = {}
        self.unread: dict[str, str] = {}

    def real(self, path: str) -> str:
        """`path` with every link resolved inside the root; what does not exist is kept as written."""
        return self._resolved(path) or path

    def _resolved(self, path: str) -> str | None:
        """The same; None where nothing can be: more links than Linux follows, or a path longer than it takes.

        Nothing is left for the kernel to resolve, which knows no root.
        """
        if len(path) > _LONGEST_PATH:
            return None
        resolved = "/"
        rest = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        followed = 0
        while rest:
            part = rest.pop()
            if part == "..":
                resolved = posixpath.dirname(resolved)
                continue
            here = posixpath.join(resolved, part)
            target = self._target(here)
            if target is None:
                resolved = here
                continue
            if followed == _MOST_LINKS:
                return None
            followed += 1
            if target.startswith("/"):
                resolved = "/"
            rest += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
        return resolved

    def read(self, path: str) -> str | None:
        """The text of a file, or None where it is absent or cannot be read. UTF-8, with replacement."""
        real = self._resolved(path)
        if real is None:
            return None
        if real in self.texts:
            return self.texts[real]
        try:
            data = elsewhere.read_bytes(self._on_disk(real), KIND, follow=False)
        except (OSError, ValueError) as error:
            self._note_error(path, error)
            return None
        self.texts[real] = data.decode("utf-8", "replace")
        self.kinds[real] = "file"
        return self.texts[real]

    def exists(self, path: str) -> bool:
        return self._kind(path) is not None

    def is_folder(self, path: str) -> bool:
        return self._kind(path) == "folder"

    def names(self, path: str, pattern: str = "*") -> list[str]:
        """The sorted names in a folder that match a shell pattern; none where there is no such folder."""
        names = [name for name in self._scan(path) if fnmatch.fnmatchcase(name, pattern)]
        for name in names:
            self._kind(posixpath.join(self.real(path), name))
        return names

    def holds_more_than(self, path: str, name: str) -> bool:
        """Whether a folder holds anything but `name`. Of thousands of entries one is remembered."""
        other = next((each for each in self._scan(path) if each != name), None)
        return other is not None and self.exists(posixpath.join(path, other))

    def note(self, where: str, why: str) -> None:
        """Remember that something was there and could not be read."""
        self.unread.setdefault(where, why)

    def notes(self) -> tuple[Unread, ...]:
        return tuple(Unread(where, why) for where, why in sorted(self.unread.items()))

    def _scan(self, path: str) -> list[str]:
        real = self._resolved(path)
        if real is None:
            return []
        try:
            with os.scandir(self._on_disk(real)) as entries:
                names = sorted(entry.name for entry in entries)
        except (OSError, ValueError) as error:
            self._note_error(path, error)
            return []
        self.kinds[real] = "folder"
        return names

    def _kind(self, path: str) -> str | None:
        real = self._resolved(path)
        if real is None:
            return None
        if real not in self.kinds:
            try:
                mode = self._on_disk(real).stat(follow_symlinks=False).st_mode
            except (OSError, ValueError) as error:
                self._note_error(path, error)
                return None
            self.kinds[real] = "folder" if stat.S_ISDIR(mode) else "file"
        return self.kinds[real]

    def _target(self, path: str) -> str | None:
        """Where a link leads, or None where `path` is no link."""
        if path in self.links:
            return self.links[path]
        if path in self.kinds:
            return None
        try:
            target = str(self._on_disk(path).readlink())
        except (OSError, ValueError):
            return None
        self.links[path] = target
        return target

    def _on_disk(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _note_error(self, path: str, error: OSError | ValueError) -> None:
        if isinstance(error, OSError):
            if error.errno not in _ABSENT:
                self.note(path, as_message(error.strerror or str(error)))
        else:
            self.note(path, str(error))  # a NUL in a path, out of a damaged file
