"""What inference.py and eval.py share: their common options, the session made of them, what they print and write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env import atomic
from env.arguments import DefaultsFormatter, Parser
from env.device_name import require_cards
from env.language import _, translate
from env.options import ATTENTION, AUTO, BATCH_SIZE, DEVICE, DEVICE_MAP, DTYPE, JSON, MODEL_DIR, SEED, SEQ_LEN
from env.stack import load_stack
from model.location import resolve_model_dir
from model.options import batch_size
from model.signature import Signature

if TYPE_CHECKING:
    from verify.run.records import Outcome
    from verify.run.verification import Verification


def parser(program: str, summary: str) -> Parser:
    """A parser with the shared options. Defaults are the public recipe's."""
    shared = Parser(prog=program, description=summary, formatter_class=DefaultsFormatter)
    MODEL_DIR.add(
        shared,
        default=load_stack().checkpoint,
        help=_("checkpoint folder, or synthetic:tiny or synthetic:full for a seeded stand-in"),
    )
    DEVICE.add(shared, default="npu:0")
    for option in (DTYPE, DEVICE_MAP, ATTENTION, SEQ_LEN, BATCH_SIZE, SEED, JSON):
        option.add(shared)
    return shared


def verification(options: argparse.Namespace) -> Verification:
    """The session that the options describe, as checks take it."""
    from verify.run.context import Context
    from verify.run.verification import Verification

    if options.device_map is not None:
        require_cards(options.device)
    session = Verification(
        Context(
            device=options.device,
            model_dir=resolve_model_dir(options.model_dir),
            dtype=options.dtype,
            seed=options.seed,
            level=2,
            run_folder=Path(),
            batch_size=batch_size(options) or 1,
            seq_len=options.seq_len,
            device_map=options.device_map,
        )
    )
    session.attention = None if options.attention == AUTO else options.attention
    return session


def heading(signature: Signature, parameters: int, load_seconds: float) -> str:
    """What every figure below was taken with."""
    kind = _("stand-in: synthetic weights") if signature.weights_kind == "stand-in" else _("checkpoint")
    threads = _(", {n} thread(s)", n=signature.threads) if signature.device == "cpu" else ""
    emulated = "  EMULATED" if signature.emulated else ""
    versions = ", ".join(f"{name} {version}" for name, version in (signature.versions or {}).items())
    parts = ", ".join(f"{part} {place}" for part, place in (signature.device_map or {}).items())
    split = [_("map       {parts}", parts=parts)] if parts else []
    lines = [
        _(
            "model     {name} ({kind}), {parameters:,} parameters",
            name=signature.weights_name,
            kind=kind,
            parameters=parameters,
        ),
        _("weights   sha256 {digest}", digest=signature.weights_sha256),
        _(
            "device    {device}, {name}{threads}{emulated}",
            device=signature.device,
            name=signature.device_name,
            threads=threads,
            emulated=emulated,
        ),
        _(
            "run       {dtype}, attention {attention}, batch {batch}, seq-len {seq_len} ({positions} positions), "
            "seed {seed}",
            dtype=signature.dtype,
            attention=signature.attention,
            batch=signature.batch,
            seq_len=signature.seq_len,
            positions=signature.positions,
            seed=signature.seed,
        ),
        *split,
        _("versions  {versions}", versions=versions),
        _("load      {seconds:.1f} s", seconds=load_seconds),
    ]
    return "\n".join(map(translate, lines))


def print_outcomes(outcomes: Mapping[str, Outcome], width: int) -> None:
    """A line for each check: its name in `width` columns, how it ended, why."""
    for name, outcome in outcomes.items():
        print(f"{name:{width}} {outcome.status.value.upper():5} {translate(outcome.reason)}")


def write_json(
    path: Path | None, program: str, outcomes: Mapping[str, Outcome], signature: Signature, **more: Any
) -> None:
    """Write what a program measured, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    if path is None:
        return
    results = {
        name: {"status": outcome.status.value, "reason": outcome.reason, "data": dict(outcome.data)}
        for name, outcome in outcomes.items()
    }
    value = {
        "schema": 1,
        "program": program,
        "command": ["python", *sys.argv],
        "signature": signature.as_json(),
        "results": results,
        **more,
    }
    atomic.write_json(path, value)
