"""The reference evaluation program: every part's numbers against a wider CPU reference, and against itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from env.errors import VerificationFailedError, run_main
from model.options import at_least, refuse_stray
from verify import programs
from verify.speech import options as speech_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verify.run.records import Outcome

SUMMARY = (
    "Score Granite-Speech on recordings (--manifest), score or compare transcripts (--rescore, --compare), or check "
    "every part of it on raw tensors: finite, repeatable, and equal to a wider CPU reference within limits."
)
RAW_OPTIONS = ("seq_len", "runs")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = programs.parser("eval.py", SUMMARY)
    parser.add_argument("--runs", type=at_least(2), default=3, metavar="N", help="repeats that must agree")
    speech_options.add_evaluation_options(parser)
    asked = parser.parse_args(arguments)
    refuse_stray(parser, asked, ("manifest", "rescore", "compare"), RAW_OPTIONS)
    return asked


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    if asked.manifest is not None or asked.rescore is not None or asked.compare is not None:
        from verify.speech import audio_evaluation

        return audio_evaluation.run(asked)
    return run_raw(asked)


def run_raw(asked: argparse.Namespace) -> int:
    """The public recipe's path: seeded tensors through every part, twice and against a reference."""
    # torch and transformers take ten seconds and more; --help must not.
    from verify import tables
    from verify.checks import determinism, generate, parity, shapes, splice
    from verify.run.records import Status

    session = programs.verification(asked)
    loaded = session.model
    signature = session.signature(n=asked.runs)
    print(tables.heading(signature, loaded.checkpoint.parameters, loaded.seconds), end="\n\n", flush=True)

    outcomes = {
        "shapes": shapes.check(session),
        "splice": splice.check(session),
        "generate": generate.check(session),
        "determinism": determinism.check(session, asked.runs),
        "parity": parity.check(session),
    }
    print(accuracy_table(outcomes), end="\n\n")
    for name, outcome in outcomes.items():
        print(f"{name:12} {outcome.status.value.upper():5} {outcome.reason}")
    programs.write_json(asked.json, "eval.py", outcomes, signature)
    failed = [name for name, outcome in outcomes.items() if outcome.status is Status.FAIL]
    if failed:
        raise VerificationFailedError(f"failed: {', '.join(failed)}", next="the same with --dtype float32 is sharper")
    return 0


def accuracy_table(outcomes: Mapping[str, Outcome]) -> str:
    """A row per component: shape, the recipe's run-to-run error, and the comparison with the reference."""
    from verify.tables import table

    shapes = outcomes["shapes"].data["components"]
    repeats = outcomes["determinism"].data["components"]
    parity = outcomes["parity"].data
    rows = [_row(name, shapes[name], repeats[name], entry) for name, entry in parity["components"].items()]
    reference = f"{parity['reference']['dtype']} on {parity['reference']['device']}"
    header = [
        "component",
        "output",
        "finite",
        "same bits",
        "run to run",
        "rel L2",
        "limit",
        "max abs",
        "cosine",
        "top-1",
    ]
    runs = outcomes["determinism"].data["runs"]
    notes = [
        "run to run: the public recipe's relative error, which is to be below 1 %",
        f"same bits:  in {runs} runs",
        f"rel L2, max abs, cosine, top-1: against the same weights and inputs in {reference}",
    ]
    return "\n".join([table([*header, "parity"], rows), "", *notes])


def _row(name: str, shape: Mapping[str, Any], repeat: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    from verify.tables import number

    return [
        name.replace("_", " "),
        str(shape["shape"]),
        "yes" if entry["finite"] and repeat["finite"] else "NO",
        "yes" if repeat["identical"] else "NO",
        number(repeat["rel_l2"], ".1e"),
        number(entry["rel_l2"], ".2e"),
        number(entry["limits"].get("rel_l2"), ".1e"),
        number(entry["max_abs"], ".2e"),
        number(entry["cosine"], ".6f"),
        number(entry["top1"], ".1%"),
        "PASS" if entry["passed"] else "FAIL",
    ]


if __name__ == "__main__":
    run_main(main)
