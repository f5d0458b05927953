"""Every way the bundle can fail, each with its exit code. A new failure is one class here.

A message says what happened, the likely cause, and the next command to type. Code raises;
`run_main` catches once, prints, and exits. Exit codes 3 and 4 are left to the single commands
that document them (`python -m env npu-smi`, `doctor`, `compat-check`, `codes-check`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NoReturn

from env import terminal
from env.language import Message, _, as_message, translate


class BundleError(Exception):
    """A failure that the user can act on; never shown as a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next = next

    @property
    def message(self) -> Message:
        """What happened, the likely cause and the next command, a line each."""
        if self.why and self.next:
            return _("{what}\n  why:  {why}\n  next: {next}", what=self.what, why=self.why, next=self.next)
        if self.why:
            return _("{what}\n  why:  {why}", what=self.what, why=self.why)
        if self.next:
            return _("{what}\n  next: {next}", what=self.what, next=self.next)
        return as_message(self.what)

    def __str__(self) -> str:
        return str(self.message)


class UsageError(BundleError):
    """An option or argument that does not make sense."""

    exit_code = 2


class HostError(BundleError):
    """The machine lacks what it needs: driver, CANN, device nodes."""

    exit_code = 10


class PythonVersionError(BundleError):
    """The running Python is outside the declared stack."""

    exit_code = 11


class ResolutionError(BundleError):
    """No configured source has a pinned package."""

    exit_code = 12


class InstallError(BundleError):
    """The installer failed, or what it installed does not import."""

    exit_code = 13


class StorageError(BundleError):
    """A disk is full, or a folder cannot be written."""

    exit_code = 14


class EnvironmentMissingError(BundleError):
    """The pinned environment is absent, unfinished, or built from other locks."""

    exit_code = 15


class WheelhouseError(BundleError):
    """A wheelhouse lacks a file, or a file in it is damaged."""

    exit_code = 16


class CheckpointError(BundleError):
    """A checkpoint folder is missing, damaged, or of another model."""

    exit_code = 20


class DeviceError(BundleError):
    """The device is absent or does not answer."""

    exit_code = 21


class InputError(BundleError):
    """An input file, audio or manifest, cannot be used."""

    exit_code = 22


class OutOfMemoryError(BundleError):
    """The device or the host ran out of memory. `again`: the process may try once more, with less."""

    exit_code = 23

    def __init__(self, what: str, *, why: str = "", next: str = "", again: bool = True) -> None:
        super().__init__(what, why=why, next=next)
        self.again = again


class ReferenceFileError(BundleError):
    """A file of reference values is damaged, or was made of another checkpoint or other inputs."""

    exit_code = 24


class VerificationFailedError(BundleError):
    """A check ran and failed."""

    exit_code = 30


class VerificationIncompleteError(BundleError):
    """No check failed, but some broke, were stopped, or never ran."""

    exit_code = 31


class RecordError(BundleError):
    """A run's records are absent or cannot be read."""

    exit_code = 32


OURS = ("env", "model", "verify")  # a module of these that is missing is a bug, not another Python
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def storage_error(error: OSError, path: str | os.PathLike[str]) -> StorageError:
    """The StorageError that tells a user about `error`, raised while writing `path`."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        # df of what is not there yet says no more than that it is not there.
        there = next(folder for folder in Path(path).absolute().parents if folder.exists())
        next_step: str = _("free some space (df -h {path}), then run the same command again", path=str(there))
    else:
        next_step = f"ls -ld {os.fspath(path)}"
    return StorageError(
        _("cannot write {path}: {reason}", path=os.fspath(path), reason=reason), why=reason, next=next_step
    )


def report_error(error: BundleError) -> int:
    """Print `error` on stderr, in the user's language, and return its exit code."""
    lines = [_("error: {what}", what=error.what)]
    if error.why:
        lines.append(_("  why:  {why}", why=error.why))
    if error.next:
        lines.append(_("  next: {next}", next=error.next))
    with contextlib.suppress(OSError, terminal.UnwritableError):  # nobody can be told, but by the code
        print("\n".join(map(translate, lines)), file=sys.stderr)
    return error.exit_code


def _not_this_python(error: ModuleNotFoundError) -> EnvironmentMissingError:
    program = " ".join([os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    return EnvironmentMissingError(
        _("{python} has no {module}", python=sys.executable, module=error.name),
        why=_("the programs run in the pinned environment, not in this Python"),
        next=_("nox -s setup, then .venvs/host/bin/python {program}", program=program),
    )


def _flush_or_give_up() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, terminal.UnwritableError):
            terminal.give_up(stream)


def run_main(main: Callable[[], int]) -> NoReturn:
    """Run a program's `main` and exit: the one place where errors become messages and exit codes."""
    terminal.take_streams()
    try:
        code = main()
        sys.stdout.flush()
    except BundleError as error:
        code = report_error(error)
    except terminal.UnwritableError as error:
        code = report_error(StorageError(_("cannot write what is to be printed: {reason}", reason=error.reason)))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        code = report_error(_not_this_python(error))
    except KeyboardInterrupt:
        print(translate(_("interrupted")), file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        terminal.give_up(sys.stdout)  # the reader of our output left (`| head`): not our failure
        code = 128 + 13
    _flush_or_give_up()
    sys.exit(code)
