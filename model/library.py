"""What a checkpoint's own template and settings make the library do: its errors in words, and an end to what has none.

The chat template is a program: transformers 4.57.6 renders it in Jinja's sandbox (chat_template_utils.py,
ImmutableSandboxedEnvironment), which keeps it from files and from code, and lets it run for hours. So does a regular
expression of tokenizer.json.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from env.errors import BundleError, CheckpointError, report_error
from env.language import Message, _

# What a library in Rust gives up with; no Exception. tokenizers does on a regular expression that takes too many steps.
PANIC = "PanicException"
PATIENCE_S = 60.0  # of a prompt, which takes milliseconds
LARGEST_FACTOR = 10**6  # in a template


@cache
def require_bounded(template: str) -> None:
    """Refuse a chat template that multiplies anything but what it spells out: a power or product of long numbers is one
    call in C, which neither a limit of time nor Ctrl-C ends.

    Raises:
        ValueError: it multiplies something else.
    """
    from jinja2 import Environment

    tokens = [token for token in Environment(autoescape=True).lex(template) if token[1] != "whitespace"]
    for before, (line, kind, sign), after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if kind == "operator" and (sign == "**" or (sign == "*" and not (_is_small(before) and _is_small(after)))):
            raise ValueError(f"line {line} of the template multiplies by {sign} what may have any size")


def _is_small(token: tuple[int, str, str]) -> bool:
    _line, kind, value = token
    return kind in ("string", "float") or (kind == "integer" and int(value.replace("_", ""), 0) <= LARGEST_FACTOR)


@contextmanager
def own_errors(folder: Path, doing: Message, files: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What the library raises of a checkpoint's `files` while `doing` something, as an error that names them; what is
    in `but` is left to the caller.

    Raises:
        CheckpointError: for whatever is no error of the bundle's own, of memory or of a device's runtime.
    """
    try:
        yield
    except (BundleError, RuntimeError, MemoryError) as error:
        if not isinstance(error, (RecursionError, NotImplementedError)):
            raise
        raise _asked(folder, doing, files, error) from error
    except but:
        raise
    except Exception as error:
        raise _asked(folder, doing, files, error) from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise _asked(folder, doing, files, error) from error


def _asked(folder: Path, doing: Message, files: str, error: BaseException) -> CheckpointError:
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return CheckpointError(
        _("{folder}: {doing} failed: {error}", folder=folder, doing=doing, error=f"{type(error).__name__}: {first}"),
        why=_("{files} of the checkpoint ask of transformers what it does not have", files=files),
        next=_("hold them against the publisher's: {files}", files=files),
    )


@contextmanager
def patience(folder: Path, doing: Message, files: str, seconds: float = PATIENCE_S) -> Iterator[None]:
    """End the program with an error where what is done inside takes longer: what the library computes cannot be
    interrupted otherwise.
    """
    error = CheckpointError(
        _("{folder}: {doing} takes more than {seconds:g} s", folder=folder, doing=doing, seconds=seconds),
        why=_("{files} of the checkpoint do not end", files=files),
        next=_("hold them against the publisher's: {files}", files=files),
    )
    timer = threading.Timer(seconds, lambda: os._exit(report_error(error)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
