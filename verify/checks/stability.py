"""Levels 2 and 4: does the device give the same answer twice, wherever and whenever it is asked?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from model.components import make_inputs
from verify import repeats
from verify import soak as soaking
from verify import tokens as tokenwise
from verify.context import Context
from verify.records import Outcome, Status
from verify.repeats import Repeats
from verify.subject import is_small, signature, the_expected, the_inputs, the_model, the_parts, the_small

RUNS, RUNS_FULL = 10, 3
SOAK_BATCH, SOAK_LENGTH = 4, 4  # times what is asked for: the load
RUNS_SHARP = 50  # in float32, where noise of 1e-6 still changes bits


def repeatability(context: Context) -> Outcome:
    """The same bits again, in another process, after warm-up; and in every row of a batch, up to the dtype's noise."""
    loaded, inputs, small = the_model(context), the_inputs(context), is_small(context)
    asked = Repeats(loaded, inputs, deep=small)
    loaded.device.empty_cache()  # the other process loads the model once more
    limit = repeats.PROCESS_LIMIT_S if small else repeats.PROCESS_LIMIT_FULL_S
    with ThreadPoolExecutor(1) as beside:  # half of the check's time is that process's imports
        other = beside.submit(repeats.in_another_process, context, limit)
        data: dict[str, Any] = {
            "repeats": repeats.repeat(asked, at_least=RUNS if small else RUNS_FULL, seconds=0.0),
            "warm": repeats.warm(loaded.device, the_parts(context)),
            "batch": asked.at_every_place() | {"limit": 2 * tokenwise.band_of(loaded, the_expected(context)).rel_l2},
        }
        sharp = the_small(context)
        fine = Repeats(the_model(sharp), the_inputs(sharp), deep=True)
        data["repeats_sharp"] = repeats.repeat(fine, at_least=RUNS_SHARP, seconds=0.0)
        there = other.result()
    data["process"] = {
        "points": len(there),
        "first_difference": repeats.first_difference(asked.digests(), there),
    }
    problems = found_in(data)
    if problems:
        return Outcome(Status.FAIL, "; ".join(problems), data, signature(context))
    runs = data["repeats"]["runs"]
    reason = f"the same bits in {runs} runs, {data['repeats_sharp']['runs']} in float32, and in another process"
    return Outcome(Status.PASS, reason, data, signature(context, n=runs))


def soak(context: Context) -> Outcome:
    """Rounds for as long as was asked: nothing may ever differ. Drift of time and memory is reported."""
    loaded, inputs = the_model(context), the_inputs(context)
    wide = make_inputs(loaded.architecture, SOAK_BATCH, SOAK_LENGTH * inputs.frames, context.seed)
    data = soaking.measure(loaded, inputs, wide, deep=is_small(context), seconds=60 * context.minutes)
    taken = signature(context, n=data["rounds"])
    said = f"{data['rounds']} rounds in {data['seconds'] / 60:.1f} minutes"
    if data["mismatches"]:
        first = data["listed"][0]
        where = f"the first in round {first['round']}: {first['first']}"
        return Outcome(Status.FAIL, f"{data['mismatches']} of {said} differ, {where}", data, taken)
    drifts = f"time {data['time']['drift']:+.1%}, memory {data['memory']['drift']:+.1%}"
    return Outcome(Status.PASS, f"{said}, the same bits; {drifts}", data, taken)


def found_in(data: dict[str, Any]) -> list[str]:
    """What was not the same, the layer named."""
    problems = []
    for key, where in (("repeats", ""), ("repeats_sharp", " (float32)")):
        one = data[key]
        if one["differing"]:
            first = one["first_difference"]
            problems.append(
                f"{one['differing']} of {one['runs']} runs differ{where}, "
                f"the first in run {first['run']}: {first['name']}"
            )
    cold = [name for name, identical in data["warm"].items() if not identical]
    if cold:
        problems.append(f"not the bits of the first run of this process: {', '.join(cold)}")
    if data["process"]["first_difference"]:
        problems.append(f"another process gives other bits: {data['process']['first_difference']}")
    apart, limit = data["batch"]["logits_rel_l2"], data["batch"]["limit"]
    if apart is None or apart > limit:
        problems.append(f"rows of one batch with the same inputs differ by {apart}, beyond noise ({limit:.1e})")
    return problems
