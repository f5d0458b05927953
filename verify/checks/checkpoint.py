"""Level 1: is the checkpoint whole, of this model, and what its sums list?"""

from __future__ import annotations

from env.errors import CheckpointError
from model import stand_in
from model.checkpoint import Checkpoint
from model.checksums import SHA256SUMS
from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def check(session: Verification) -> Outcome:
    """The folder's config.json and safetensors headers, and its files against SHA256SUMS; nothing is loaded."""
    found = session.checkpoint
    data = {**found.describe(), "sha256": session.digest}
    marked = "synthetic weights, " if found.kind == "stand-in" else ""
    try:
        status, said = _vouched(found, session.checksums)
    except CheckpointError as error:  # a finding about a folder that can be loaded: its figures are kept beside it
        return Outcome(Status.FAIL, str(error), {**data, "sums": {"status": "differ"}})
    data["sums"] = {"status": status}
    reason = f"{marked}{found.parameters:,} parameters, {len(found.entries)} tensors; {said}"
    return Outcome(Status.PASS, reason, data)


def _vouched(found: Checkpoint, listed: tuple[str, ...] | None) -> tuple[str, str]:
    """Who says that the values are the right ones: a word for the record, and the same as a sentence."""
    if listed is not None:
        return "match", f"{len(listed)} files as {SHA256SUMS} lists them"
    if found.kind == "stand-in" and stand_in.is_stand_in(found.name):
        return "made-here", "made here from a seed"
    return "none", f"no {SHA256SUMS} beside the weights: nothing says whose they are"
