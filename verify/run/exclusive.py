"""One verify a run: two at once would mix their records and logs, and forget one another's."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from env.errors import UsageError, storage_error
from env.language import _

LOCK_FILE = ".verify.lock"  # it stays: removing it would let two in, one with the old file and one with a new


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the run in `folder`; the kernel lets go of it when this process ends, however it ends.

    Raises:
        UsageError: another verify holds it.
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise storage_error(error, folder) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                _("another verify is working on {run}", run=folder.name),
                why=_("two at once would mix their records"),
                next=_("wait until it has ended, or leave --run out: this one then gets a run of its own"),
            ) from error
        except OSError:  # some network file systems have no locks
            pass
        yield
