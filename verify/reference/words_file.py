"""Where the reference's words are kept: in the file that --reference brings, or in one of their own, made here."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.errors import ReferenceFileError, StorageError
from env.language import _
from model.checkpoint import Checkpoint
from model.clips import Clip
from model.components import Inputs
from verify.reference import file, words
from verify.reference.progress import say
from verify.reference.words import Words, WordsDescription

if TYPE_CHECKING:
    import torch

ENTRY = "words"  # of the file's metadata


def require(brought: Words, run: WordsDescription, processor: Any, path: Path) -> None:
    """Refuse words that are not of these weights and clips, or that their own tokens and scores deny.

    Raises:
        ReferenceFileError: everything that differs is named.
    """
    if differences := words.unfit(brought, run, processor):
        raise file.unfit(path, differences)


def cached(
    checkpoint: Checkpoint,
    clips: Sequence[Clip],
    inputs: Sequence[Inputs],
    processor: Any,
    run: WordsDescription,
    folder: Path | None = None,
) -> Words:
    """The kept words of exactly this description, made now where there are none or they are damaged.

    Where they cannot be written they serve this process all the same, and `unkept` says so.
    """
    name = hashlib.sha256(json.dumps(asdict(run), sort_keys=True).encode()).hexdigest()[:16]
    path = (folder or file.FOLDER) / f"{checkpoint.name.replace(':', '-')}-words-{name}.safetensors"
    with contextlib.suppress(ReferenceFileError):
        kept = read(path)
        require(kept, run, processor, path)
        return kept
    from verify.reference import words_make  # torch, of which a process that only reads has no need

    made = words_make.make(checkpoint, clips, inputs, processor, run)
    try:
        save(made, path)
    except StorageError as error:
        unkept = _("reference values could not be kept, and will be made again: {reason}", reason=error.why)
        say(unkept)
        return replace(made, sha256=file.digest(*_content(made)), unkept=unkept)
    return read(path)


def save(made: Words, path: Path) -> None:
    """Write a file of their own.

    Raises: StorageError.
    """
    file.write(*_content(made), path)


def _content(made: Words) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    stored = {name: tensor.contiguous() for name, tensor in made.tensors.items()}
    return stored, {ENTRY: json.dumps(made.metadata)}


def read(path: Path) -> Words:
    """The words in a file of their own.

    Raises: ReferenceFileError.
    """

    def look(content: Mapping[str, Any]) -> None:
        """Of another layout they are told as damaged: the file is this machine's own, and made again."""
        if content["about"]["schema"] != words.SCHEMA:
            raise ValueError(f"schema {content['about']['schema']}")

    return file.read_with(path, ENTRY, look, words.from_file)
