"""The reference evaluation program: every part's numbers against a wider CPU reference, and against itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from env.arguments import at_least
from env.errors import VerificationFailedError, run_main
from env.language import _, translate
from model.options import refuse_stray
from verify import programs
from verify.speech.options import add_evaluation_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verify.run.records import Outcome

SUMMARY = _(
    "Score Granite-Speech on recordings (--manifest), score or compare transcripts (--rescore, --compare), or check\n"
    "every part of it on raw tensors: finite, repeatable, and equal to a wider CPU reference within limits."
)
RAW_OPTIONS = ("seq_len", "runs")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = programs.parser("eval.py", SUMMARY)
    parser.add_argument("--runs", type=at_least(2), default=3, metavar="N", help=_("repeats that must agree"))
    add_evaluation_options(parser)
    options = parser.parse_args(arguments)
    refuse_stray(parser, options, ("manifest", "rescore", "compare"), RAW_OPTIONS)
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.manifest is not None or options.rescore is not None or options.compare is not None:
        from verify.speech import audio_evaluation

        return audio_evaluation.run(options)
    return run_raw(options)


def run_raw(options: argparse.Namespace) -> int:
    """The public recipe's path: seeded tensors through every part, twice and against a reference."""
    # torch and transformers take ten seconds and more; --help must not.
    from verify.checks import determinism, generate, parity, shapes, splice
    from verify.run.records import Status

    session = programs.verification(options)
    loaded = session.model
    signature = session.signature(n=options.runs)
    print(programs.heading(signature, loaded.checkpoint.parameters, loaded.seconds), end="\n\n", flush=True)

    outcomes = {
        "shapes": shapes.check(session),
        "splice": splice.check(session),
        "generate": generate.check(session),
        "determinism": determinism.check(session, options.runs),
        "parity": parity.check(session),
    }
    print(accuracy_table(outcomes), end="\n\n")
    programs.print_outcomes(outcomes, 12)
    programs.write_json(options.json, "eval.py", outcomes, signature)
    failed = [name for name, outcome in outcomes.items() if outcome.status is Status.FAIL]
    if failed:
        raise VerificationFailedError(
            _("failed: {checks}", checks=", ".join(failed)), next=_("the same with --dtype float32 is sharper")
        )
    return 0


def accuracy_table(outcomes: Mapping[str, Outcome]) -> str:
    """A row per component: shape, the recipe's run-to-run error, and the comparison with the reference."""
    from verify.tables import table

    shapes = outcomes["shapes"].data["components"]
    repeats = outcomes["determinism"].data["components"]
    parity = outcomes["parity"].data
    rows = [_row(name, shapes[name], repeats[name], entry) for name, entry in parity["components"].items()]
    header = [
        _("component"),
        _("output"),
        _("finite"),
        _("same bits"),
        _("run to run"),
        _("rel L2"),
        _("limit"),
        _("max abs"),
        _("cosine"),
        _("top-1"),
        _("parity"),
    ]
    reference = parity["reference"]
    notes = [
        _("run to run: the public recipe's relative error, which is to be below 1 %"),
        _("same bits:  in {runs} runs", runs=outcomes["determinism"].data["runs"]),
        _(
            "rel L2, max abs, cosine, top-1: against the same weights and inputs in {dtype} on {device}",
            dtype=reference["dtype"],
            device=reference["device"],
        ),
    ]
    return "\n".join([table(header, rows), "", *map(translate, notes)])


def _row(name: str, shape: Mapping[str, Any], repeat: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    from verify.tables import number

    return [
        name.replace("_", " "),
        str(shape["shape"]),
        _("yes") if entry["finite"] and repeat["finite"] else _("NO"),
        _("yes") if repeat["identical"] else _("NO"),
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
