"""Level 1: is the checkpoint whole, of this model, and what its sums list?"""

from __future__ import annotations

from typing import Literal

from msgspec import structs

from env.errors import CheckpointError
from env.language import Message, _
from model import stand_in
from model.checkpoint import Checkpoint
from model.checksums import SHA256SUMS
from verify.run.damage import convert
from verify.run.figures.weights import CheckpointFigures, SumsFigures
from verify.run.records import Outcome, failed, passed
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """The folder's config.json and safetensors headers, and its files against SHA256SUMS; nothing is loaded."""
    checkpoint = session.checkpoint
    # The folder's name alone: a record names no path of the machine it was made on.
    figures = convert(
        {**checkpoint.describe(), "path": checkpoint.folder.name, "sha256": session.digest}, CheckpointFigures
    )
    try:
        status, whose = _vouched(checkpoint, session.checksums)
    except CheckpointError as error:  # a finding about a folder that can be loaded: its figures are kept beside it
        return failed([error.message], structs.replace(figures, sums=SumsFigures(status="differ")))
    facts = {"parameters": checkpoint.parameters, "tensors": len(checkpoint.entries), "whose": whose}
    if checkpoint.kind == "stand-in":
        reason = _("synthetic weights, {parameters:,} parameters, {tensors} tensors; {whose}", **facts)
    else:
        reason = _("{parameters:,} parameters, {tensors} tensors; {whose}", **facts)
    return passed(reason, structs.replace(figures, sums=SumsFigures(status=status)))


def _vouched(
    checkpoint: Checkpoint, listed: tuple[str, ...] | None
) -> tuple[Literal["match", "made-here", "none"], Message]:
    """Who vouches for the values: a word for the record, and the same as a sentence."""
    if listed is not None:
        return "match", _("{count} files as {list} lists them", count=len(listed), list=SHA256SUMS)
    if checkpoint.kind == "stand-in" and stand_in.is_stand_in(checkpoint.name):
        return "made-here", _("made here from a seed")
    return "none", _("no {list} beside the weights: nothing says whose they are", list=SHA256SUMS)
