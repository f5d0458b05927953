"""The reference inference program: runs every part of Granite-Speech on raw tensors, decodes, and times it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from env.errors import VerificationFailedError, run_main
from verify import programs
from verify.speech import options as speech_options

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY = (
    "Transcribe or translate recordings with Granite-Speech (--audio), "
    "or run it part by part on raw tensors, decode greedily, and measure how fast."
)
RAW_OPTIONS = ("seq_len", "warmup", "benchmark")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = programs.parser("inference.py", SUMMARY)
    parser.add_argument("--warmup", type=programs.at_least(0), default=2, metavar="N", help="untimed rounds")
    parser.add_argument(
        "--benchmark", type=programs.at_least(0), default=10, metavar="N", help="timed rounds; 0 for none"
    )
    speech_options.add_audio_options(parser)
    asked = parser.parse_args(arguments)
    speech_options.refuse_stray(parser, asked, ("audio",), RAW_OPTIONS)
    return asked


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    if asked.audio is not None:
        from verify.speech import audio_inference

        return audio_inference.run(asked)
    return run_raw(asked)


def run_raw(asked: argparse.Namespace) -> int:
    """The public recipe's path: seeded tensors through every part."""
    # torch and transformers take ten seconds and more; --help must not.
    from verify import tables
    from verify.checks import benchmark, generate, shapes, splice
    from verify.run.records import Status

    session = programs.verification(asked)
    loaded = session.model
    signature = session.signature(warmup=asked.warmup, n=asked.benchmark)
    print(tables.heading(signature, loaded.checkpoint.parameters, loaded.seconds), end="\n\n", flush=True)

    outcomes = {"shapes": shapes.check(session), "splice": splice.check(session), "generate": generate.check(session)}
    print(shapes_table(outcomes["shapes"].data), end="\n\n")
    for name, outcome in outcomes.items():
        print(f"{name:9} {outcome.status.value.upper():5} {outcome.reason}")
    if "token_ids" in outcomes["generate"].data:
        print(f"token ids {' '.join(map(str, outcomes['generate'].data['token_ids']))}", flush=True)

    measured: dict[str, Any] = {}
    if asked.benchmark:
        figures = benchmark.measure(
            loaded,
            session.inputs,
            session.parts,
            warmup=asked.warmup,
            rounds=asked.benchmark,
            floors=True,
        )
        measured = figures.as_json()
        print("\n" + times_table(measured))
    programs.write_json(asked.json, "inference.py", outcomes, signature, benchmark=measured or None)
    failed = [f"{name}: {outcome.reason}" for name, outcome in outcomes.items() if outcome.status is Status.FAIL]
    if failed:
        raise VerificationFailedError("; ".join(failed), next="python eval.py with the same options compares the parts")
    return 0


def shapes_table(data: Mapping[str, Any]) -> str:
    from verify.tables import table

    rows = [
        [name, str(entry["shape"]), str(entry["expected"]), "yes" if entry["finite"] else "NO"]
        for name, entry in data["components"].items()
    ]
    return table(["component", "output", "expected", "finite"], rows)


def times_table(data: Mapping[str, Any]) -> str:
    """Per component and in total, then decoding, memory and the machine's floors."""
    from verify.tables import number, table

    entries = {**data["components"], "end to end": data["total"]}
    columns = ("cold_ms", "mean_ms", "p50_ms", "p90_ms", "p99_ms", "floor_ms")
    rows = [
        [name, *(number(entry[column], ".2f") for column in columns), f"{entry['steps_per_s']:.1f}"]
        for name, entry in entries.items()
    ]
    decode, memory, floors = data["decode"], data["memory"], data["floors"]
    per_token = decode["per_token_ms"]
    peak = number(memory["peak_bytes"] and memory["peak_bytes"] / 2**30, ".2f")
    return "\n".join(
        [
            table(["component", *(column.replace("_", " ") for column in columns), "steps/s"], rows),
            "",
            f"decode    {decode['tokens_per_s']:.1f} tokens/s; first token {decode['prefill_ms']:.1f} ms, then "
            f"p50 {per_token['p50']:.2f}, p90 {per_token['p90']:.2f}, p99 {per_token['p99']:.2f} ms a token "
            f"(floor {number(decode['floor_ms'], '.2f')})",
            f"memory    peak {peak} GiB ({memory['kind']}, since {memory['since']})",
            f"floors    reading {floors['read_gb_s']:.1f} GB/s, matrix product {floors['gemm_gflop_s']:.0f} GFLOP/s",
        ]
    )


if __name__ == "__main__":
    run_main(main)
