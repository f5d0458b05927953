"""What inference.py and eval.py share: their common options, the Context made of them, the JSON file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env import atomic, stack
from model.options import at_least, batch_size, size_or_auto
from model.signature import Signature
from verify.options import DTYPES, resolve_model_dir

if TYPE_CHECKING:
    from verify.run.records import Outcome
    from verify.run.verification import Verification


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def parser(program: str, summary: str) -> argparse.ArgumentParser:
    """A parser with the shared options. Defaults are the public recipe's."""
    declared = stack.load_stack()
    found = argparse.ArgumentParser(prog=program, description=summary, formatter_class=HelpFormatter)
    found.add_argument(
        "--model-dir",
        default=declared.checkpoint,
        metavar="DIR",
        help="checkpoint folder, or synthetic:tiny or synthetic:full for a seeded stand-in",
    )
    found.add_argument("--device", default="npu:0", help="npu:N, cuda:N, cpu, or auto (npu, then cuda, then cpu)")
    found.add_argument("--dtype", default="auto", choices=DTYPES, help="auto is the checkpoint's own")
    found.add_argument(
        "--seq-len", type=at_least(1), default=32, metavar="N", help="encoder frames and prompt positions"
    )
    found.add_argument(
        "--batch-size",
        type=size_or_auto,
        default=1,
        metavar="N",
        help="rows of equal length; of speech: windows decoded together, or auto, halved where memory runs out",
    )
    found.add_argument(
        "--seed", type=at_least(0), default=declared.seed, metavar="N", help="of the inputs, and of synthetic:tiny"
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    return found


def verification(options: argparse.Namespace) -> Verification:
    """The session that the options ask for, as checks take it."""
    from verify.run.context import Context
    from verify.run.verification import Verification

    return Verification(
        Context(
            device=options.device,
            model_dir=resolve_model_dir(options.model_dir),
            dtype=options.dtype,
            seed=options.seed,
            level=2,
            run_folder=Path(),
            batch_size=batch_size(options) or 1,
            seq_len=options.seq_len,
        )
    )


def write_json(
    path: Path | None, program: str, outcomes: Mapping[str, Outcome], signature: Signature, **more: Any
) -> None:
    """Write what a program found, whole or not at all.

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
