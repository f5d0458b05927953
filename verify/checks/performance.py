"""Levels 2 and 3: how fast, on what memory. Nothing is judged: a time without a declared reference is a figure."""

from __future__ import annotations

from verify import benchmark as benchmarks
from verify.context import Context
from verify.records import Outcome, Status
from verify.subject import signature, the_inputs, the_model, the_parts

FLOORS_FROM_LEVEL = 3
BUDGET_S = 20.0  # per component; a slow device takes fewer rounds, and the signature says how many


def benchmark(context: Context) -> Outcome:
    """Times of every component, of the whole and of decoding; from level 3 on beside the machine's floors."""
    data = benchmarks.measure(
        the_model(context),
        the_inputs(context),
        the_parts(context),
        warmup=context.warmup,
        rounds=context.rounds,
        floors=context.level >= FLOORS_FROM_LEVEL,
        budget_s=BUDGET_S,
    )
    taken = signature(context, n=len(data["total"]["samples_ms"]), warmup=context.warmup)
    reason = f"{data['total']['p50_ms']:.1f} ms a pass, {data['decode']['tokens_per_s']:.1f} tokens/s"
    return Outcome(Status.PASS, reason, data, taken)
