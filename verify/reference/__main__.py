"""`python -m verify.reference`: run the reference on the CPU and write the file that --reference takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from env.arguments import DefaultsFormatter, Parser
from env.errors import run_main
from env.language import _, translate
from env.options import BATCH_SIZE, DTYPE, MODEL_DIR, SEED, SEQ_LEN
from model import clips
from model.location import resolve_model_dir
from model.options import batch_size
from model.session import Session
from verify.reference import file, values, words, words_make
from verify.reference.make import make
from verify.reference.words import Words


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
    spoken = _words(session, options.gelu) if words.needed(session.checkpoint) else None
    expected = replace(make(session.checkpoint, session.inputs, description), words=spoken)
    file.save_somewhere(expected, options.output)
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
    if spoken is not None:
        print(translate(_("with the texts of {count} clips", count=len(spoken.spoken))))
    return 0


def _words(session: Session, gelu: str) -> Words:
    """What the reference says to the bundled clips: nothing else is known of what these weights say.

    Raises: CheckpointError.
    """
    spoken = clips.one_a_language()
    inputs = [clip.inputs(session.processor) for clip in spoken]
    run = words.describe(session.checkpoint, session.digest, spoken, inputs, session.dtype, gelu=gelu, any_dtype=True)
    return words_make.make(session.checkpoint, spoken, inputs, session.processor, run)


if __name__ == "__main__":
    run_main(main)
