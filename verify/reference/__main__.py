"""`python -m verify.reference`: run the reference on the CPU and write the file that --reference takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from env.errors import run_main
from env.stack import load_stack
from model.components import DTYPES
from model.session import Session
from verify.options import resolve_model_dir
from verify.reference import file, values
from verify.reference.make import make


def make_parser() -> argparse.ArgumentParser:
    stack = load_stack()
    parser = argparse.ArgumentParser(
        prog="python -m verify.reference",
        description="Run the reference on the CPU and write the file that --reference takes.",
        allow_abbrev=False,
    )
    parser.add_argument("--model-dir", required=True, metavar="DIR", help="a checkpoint folder, or a stand-in's name")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument("--dtype", default="auto", choices=("auto", *DTYPES), help="that will be verified")
    parser.add_argument("--seed", type=int, default=stack.seed, help=f"of the inputs (default: {stack.seed})")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    session = Session("cpu", resolve_model_dir(options.model_dir), dtype=options.dtype, seed=options.seed)
    description = values.describe(session.checkpoint, session.digest, session.inputs, session.dtype, any_dtype=True)
    file.save(make(session.checkpoint, session.inputs, description), options.output)
    size = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size:.1f} MB, for {session.checkpoint.name} in {session.dtype}")
    return 0


if __name__ == "__main__":
    run_main(main)
