"""The reference inference program: runs every part of Granite-Speech on raw tensors, decodes, and times it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from env.arguments import at_least
from env.errors import VerificationFailedError, run_main
from env.language import _, joined, translate
from model.options import add_recording_options, refuse_stray
from verify import programs

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY = _(
    "Transcribe or translate recordings with Granite-Speech (--audio),\n"
    "or run it part by part on raw tensors, decode greedily, and measure how fast."
)
RAW_OPTIONS = ("seq_len", "benchmark")
WARMUP = 2  # untimed rounds of the raw-tensor path: the public recipe's


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = programs.parser("inference.py", SUMMARY)
    parser.add_argument(
        "--warmup",
        type=at_least(0),
        metavar="N",
        help=_("untimed rounds first (default: {rounds}; of recordings 0)", rounds=WARMUP),
    )
    parser.add_argument("--benchmark", type=at_least(0), default=10, metavar="N", help=_("timed rounds; 0 for none"))
    add_recording_options(parser)
    options = parser.parse_args(arguments)
    refuse_stray(parser, options, ("audio",), RAW_OPTIONS)
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.audio is not None:
        from model import recordings

        return recordings.run(options, programs.verification(options))
    return run_raw(options)


def run_raw(options: argparse.Namespace) -> int:
    """The public recipe's path: seeded tensors through every part."""
    # torch and transformers take ten seconds and more; --help must not.
    from verify.checks import benchmark, generate, shapes, splice
    from verify.run.records import Status

    session = programs.verification(options)
    loaded = session.model
    warmup = WARMUP if options.warmup is None else options.warmup
    signature = session.signature(warmup=warmup, n=options.benchmark)
    print(programs.heading(signature, loaded.checkpoint.parameters, loaded.seconds), end="\n\n", flush=True)

    outcomes = {"shapes": shapes.check(session), "splice": splice.check(session), "generate": generate.check(session)}
    print(shapes_table(outcomes["shapes"].data), end="\n\n")
    programs.print_outcomes(outcomes, 9)
    if "token_ids" in outcomes["generate"].data:
        ids = " ".join(map(str, outcomes["generate"].data["token_ids"]))
        print(translate(_("token ids {ids}", ids=ids)), flush=True)

    measured: dict[str, Any] = {}
    if options.benchmark:
        figures = benchmark.measure(
            loaded,
            session.inputs,
            session.parts,
            warmup=warmup,
            rounds=options.benchmark,
            floors=True,
        )
        measured = figures.as_json()
        print("\n" + times_table(measured))
    programs.write_json(options.json, "inference.py", outcomes, signature, benchmark=measured or None)
    failed = [
        _("{check}: {reason}", check=name, reason=outcome.reason)
        for name, outcome in outcomes.items()
        if outcome.status is Status.FAIL
    ]
    if failed:
        raise VerificationFailedError(
            joined(*failed), next=_("python eval.py with the same options compares the parts")
        )
    return 0


def shapes_table(data: Mapping[str, Any]) -> str:
    from verify.tables import table

    rows = [
        [name, str(entry["shape"]), str(entry["expected"]), _("yes") if entry["finite"] else _("NO")]
        for name, entry in data["components"].items()
    ]
    return table([_("component"), _("output"), _("expected"), _("finite")], rows)


def times_table(data: Mapping[str, Any]) -> str:
    """Per component and in total, then decoding, memory and the machine's floors."""
    from verify.tables import number, table

    entries = {**data["components"], _("end to end"): data["total"]}
    columns = {
        "cold_ms": _("cold ms"),
        "mean_ms": _("mean ms"),
        "p50_ms": _("p50 ms"),
        "p90_ms": _("p90 ms"),
        "p99_ms": _("p99 ms"),
        "floor_ms": _("floor ms"),
    }
    rows = [
        [name, *(number(entry[column], ".2f") for column in columns), f"{entry['steps_per_s']:.1f}"]
        for name, entry in entries.items()
    ]
    return "\n".join(
        [table([_("component"), *columns.values(), _("steps/s")], rows), "", *map(translate, summary(data))]
    )


def summary(data: Mapping[str, Any]) -> list[str]:
    """Decoding, memory and the machine's floors, a line each."""
    from verify.tables import number

    decode, memory, floors = data["decode"], data["memory"], data["floors"]
    per_token = decode["per_token_ms"]
    peak = number(memory["peak_bytes"] and memory["peak_bytes"] / 2**30, ".2f")
    return [
        _(
            "decode    {speed:.1f} tokens/s; first token {first:.1f} ms, then p50 {p50:.2f}, p90 {p90:.2f}, "
            "p99 {p99:.2f} ms a token (floor {floor})",
            speed=decode["tokens_per_s"],
            first=decode["prefill_ms"],
            p50=per_token["p50"],
            p90=per_token["p90"],
            p99=per_token["p99"],
            floor=number(decode["floor_ms"], ".2f"),
        ),
        _("memory    peak {peak} GiB ({kind}, since {since})", peak=peak, kind=memory["kind"], since=memory["since"]),
        _(
            "floors    reading {reading:.1f} GB/s, matrix product {product:.0f} GFLOP/s",
            reading=floors["read_gb_s"],
            product=floors["gemm_gflop_s"],
        ),
    ]


if __name__ == "__main__":
    run_main(main)
