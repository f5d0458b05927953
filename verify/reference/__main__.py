"""`python -m verify.reference`: run the reference on the CPU and write the file that --reference takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from env.arguments import DefaultsFormatter, Parser
from env.errors import run_main
from env.language import _, translate
from env.options import BATCH_SIZE, DTYPE, MODEL_DIR, SEED, SEQ_LEN
from model.location import resolve_model_dir
from model.options import batch_size
from model.session import Session
from verify.reference import file, values
from verify.reference.make import make


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m verify.reference",
        description=_("Run the reference on the CPU and write the file that --reference takes."),
        formatter_class=DefaultsFormatter,
    )
    MODEL_DIR.add(parser, required=True, help=_("a checkpoint folder, or a stand-in's name"))
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    DTYPE.add(parser, help=_("that will be verified"))
    parser.add_argument(
        "--gelu",
        choices=("erf", "tanh"),
        default="erf",
        help=_("the form that the device computes: the record of its check `device` says it"),
    )
    for option in (SEED, SEQ_LEN, BATCH_SIZE):
        option.add(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    session = Session(
        "cpu",
        resolve_model_dir(options.model_dir),
        dtype=options.dtype,
        seed=options.seed,
        batch_size=batch_size(options) or 1,
        seq_len=options.seq_len,
    )
    file.require_writable(options.output)  # before the work, not after it
    description = values.describe(
        session.checkpoint, session.digest, session.inputs, session.dtype, gelu=options.gelu, any_dtype=True
    )
    file.save_somewhere(make(session.checkpoint, session.inputs, description), options.output)
    size = options.output.stat().st_size / 1e6
    print(
        translate(
            _(
                "{path}: {size:.1f} MB, for {checkpoint} in {dtype}",
                path=str(options.output),
                size=size,
                checkpoint=session.checkpoint.name,
                dtype=session.dtype,
            )
        )
    )
    return 0


if __name__ == "__main__":
    run_main(main)
