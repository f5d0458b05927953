"""Evidence of runs, made up: a healthy one, what may change in it, and what each combination comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from verify.run import plan
from verify.run.records import Evidence, Record, Run, Status

LEVEL_1 = ("machine", "packages", "checkpoint", "device")
ESSENTIAL_2 = tuple(check.name for check in plan.planned(2) if check.essential)
LEVEL_2 = (*LEVEL_1, *ESSENTIAL_2[3:], "configurations", "benchmark")

Change = Callable[[Evidence], Evidence]


def record(check: str, status: Status = Status.PASS, reason: str = "", **changes: Any) -> Record:
    started = "2026-08-01T10:00:00Z"
    plain = Record(check, 2, status, reason, started, 1.0, {}, {}, f"nox -s verify -- --only {check}")
    return replace(plain, **changes)


def healthy(device: str = "npu:0", kind: str = "checkpoint", level: int = 2) -> Evidence:
    """A run in which everything passed on the device of its option."""
    planned = LEVEL_1 if level == 1 else LEVEL_2
    run = Run("20260801T100000Z-1", "2026-08-01T10:00:00Z", level, device, "model", "bfloat16", 42, planned, "nox", {})
    kind_of_device, _, index = device.partition(":")
    data: dict[str, Mapping[str, Any]] = {
        "checkpoint": {"kind": kind},
        "device": {"kind": kind_of_device, "index": int(index or 0), "emulated": False},
        "load": {"dtype": "bfloat16"},
    }
    signature = {"device": device, "weights_kind": kind}
    records = {
        name: record(name, data=data.get(name, {}), signature={} if name in LEVEL_1 else signature) for name in planned
    }
    return Evidence(run, {"status": "pass", "data": {"apart": []}}, records, {})


def with_record(check: str, status: Status = Status.PASS, reason: str = "", **changes: Any) -> Change:
    def change(evidence: Evidence) -> Evidence:
        changed = replace(evidence.records.get(check, record(check)), status=status, reason=reason, **changes)
        return replace(evidence, records={**evidence.records, check: changed})

    return change


def with_gelu(form: str, *, switched: bool = False) -> Change:
    gelu = {"form": form, "erf_error": 4.7e-4, "tanh_error": 1e-7, "switched": switched}
    device = {"kind": "npu", "index": 0, "gelu": gelu}
    return with_record("device", data=device)


def without(*checks: str) -> Change:
    return lambda evidence: replace(evidence, records={n: r for n, r in evidence.records.items() if n not in checks})


def with_run(**changes: Any) -> Change:
    def change(evidence: Evidence) -> Evidence:
        assert evidence.run is not None
        return replace(evidence, run=replace(evidence.run, **changes))

    return change


def with_setup(**setup: Any) -> Change:
    return lambda evidence: replace(evidence, setup=setup)


def with_damaged(**damaged: str) -> Change:
    names = {f"{name}.json": why for name, why in damaged.items()}
    return lambda evidence: replace(without(*damaged)(evidence), damaged=names)


def nothing_verified(evidence: Evidence) -> Evidence:
    return replace(evidence, run=None, records={})


def lose_run_file(evidence: Evidence) -> Evidence:
    return replace(evidence, run=None, damaged={"run.json": "not JSON"})


POST2 = {"name": "torch-npu", "asked": "2.9.0.post1", "found": "2.9.0.post2", "substituted": True}
ALL_SKIPPED = tuple(with_record(name, Status.SKIP, "not here") for name in LEVEL_2)

CASES: dict[str, tuple[tuple[Change, ...], str, int]] = {
    "everything passed": ((), "verified · npu:0 · bfloat16 · level 2 · 19 pass", 0),
    "npu is npu:0": ((with_run(device="npu"),), "verified · npu:0 · bfloat16 · level 2 · 19 pass", 0),
    "auto stands behind the device": (
        (with_run(device="auto"),),
        "verified · npu:0 (auto) · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "another dtype than that of the option is named": (
        (with_run(dtype="float16"),),
        "verified · npu:0 · bfloat16 (float16 asked) · level 2 · 19 pass",
        0,
    ),
    "a failure fails": (
        (with_record("parity", Status.FAIL, "rel_l2 3e-2 > 1e-2"),),
        "failed · npu:0 · bfloat16 · level 2 · 18 pass, 1 fail (parity: rel_l2 3e-2 > 1e-2)",
        30,
    ),
    "a failure outweighs what broke or is missing": (
        (with_record("parity", Status.FAIL, "far"), with_record("shapes", Status.ERROR, "SIGSEGV"), without("splice")),
        "failed · npu:0 · bfloat16 · level 2 · 16 pass, 1 fail (parity: far), 1 error (shapes: SIGSEGV), "
        "1 not-run (splice)",
        30,
    ),
    "an unplanned failure counts": (
        (with_record("wer", Status.FAIL, "31 %"),),
        "failed · npu:0 · bfloat16 · level 2 · 19 pass, 1 fail (wer: 31 %)",
        30,
    ),
    "a broken check leaves the run incomplete": (
        (with_record("benchmark", Status.ERROR, "out of memory"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 18 pass, 1 error (benchmark: out of memory)",
        31,
    ),
    "a missing check leaves the run incomplete": (
        (without("parity", "benchmark"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 17 pass, 2 not-run (parity, benchmark)",
        31,
    ),
    "a damaged record leaves the run incomplete": (
        (with_damaged(parity="not JSON"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 18 pass, 1 error (parity: damaged record: not JSON)",
        31,
    ),
    "a damaged record of an unplanned check counts": (
        (with_damaged(wer="not JSON"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass, 1 error (wer: damaged record: not JSON)",
        31,
    ),
    "without run.json nobody knows what was planned": (
        (lose_run_file,),
        "incomplete · npu:0 · bfloat16 · 19 pass · damaged: run.json: not JSON",
        31,
    ),
    "a device without the published model's GELU is said so": (
        (with_gelu("tanh"),),
        "verified · npu:0 · bfloat16 · level 2 · 19 pass · GELU by tanh: up to 4.7e-04 from the published model's",
        0,
    ),
    "and where it was asked for in vain, that": (
        (with_gelu("tanh", switched=True),),
        "verified · npu:0 · bfloat16 · level 2 · 19 pass · GELU by tanh: up to 4.7e-04 from the published model's, "
        "which torch-npu was asked for",
        0,
    ),
    "one that has it is not": ((with_gelu("erf"),), "verified · npu:0 · bfloat16 · level 2 · 19 pass", 0),
    "a damaged setup.json leaves the run incomplete": (
        (with_damaged(setup="not JSON"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass · damaged: setup.json: not JSON",
        31,
    ),
    "a skip is named": (
        (with_record("benchmark", Status.SKIP, "0 rounds"),),
        "verified · npu:0 · bfloat16 · level 2 · 18 pass, 1 skip (benchmark: 0 rounds)",
        0,
    ),
    "an essential check cannot be skipped": (
        (with_record("parity", Status.SKIP, "no reference"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 18 pass, 1 skip (parity: no reference) · "
        "essential check skipped: parity",
        31,
    ),
    "a run of chosen checks is not the level": (
        (with_run(planned=("device", "parity")), without(*(set(LEVEL_2) - {"device", "parity"}))),
        "incomplete · npu:0 · bfloat16 asked · level 2 · 2 pass · not part of this run: packages, checkpoint, load, "
        "definition, weights, shapes, splice, generate, determinism, layers, sharp, tokens, repeatability, speech",
        31,
    ),
    "a checkpoint that cannot hear is not verified": (
        (with_record("speech", Status.SKIP, "no tokenizer.json"),),
        "incomplete · npu:0 · bfloat16 · level 2 · 18 pass, 1 skip (speech: no tokenizer.json) · "
        "essential check skipped: speech",
        31,
    ),
    "random weights have nothing to say": (
        (with_run(model_dir="synthetic:full"), with_record("speech", Status.SKIP, "no tokenizer.json")),
        "verified (stand-in weights) · npu:0 · bfloat16 · level 2 · 18 pass, 1 skip (speech: no tokenizer.json)",
        0,
    ),
    "a stand-in has to try speech all the same": (
        (
            with_run(model_dir="synthetic:full", planned=tuple(name for name in LEVEL_2 if name != "speech")),
            without("speech"),
        ),
        "incomplete (stand-in weights) · npu:0 · bfloat16 · level 2 · 18 pass · not part of this run: speech",
        31,
    ),
    "a stand-in may skip nothing else": (
        (with_run(model_dir="synthetic:full"), with_record("sharp", Status.SKIP, "why")),
        "incomplete (stand-in weights) · npu:0 · bfloat16 · level 2 · 18 pass, 1 skip (sharp: why) · "
        "essential check skipped: sharp",
        31,
    ),
    "level 1 needs no model": (
        (with_run(level=1, planned=LEVEL_1), without(*(set(LEVEL_2) - set(LEVEL_1)))),
        "verified · npu:0 · bfloat16 asked · level 1 · 4 pass",
        0,
    ),
    "nothing ran": (
        (without(*LEVEL_2),),
        f"not verified · npu:0 asked · bfloat16 asked · level 2 · 19 not-run ({', '.join(LEVEL_2)})",
        31,
    ),
    "only skips are nothing": (ALL_SKIPPED, "not verified", 31),
    "nothing was planned": ((with_run(planned=()), without(*LEVEL_2)), "not verified", 31),
    "a stand-in is named": (
        (with_record("checkpoint", data={"kind": "stand-in"}),),
        "verified (stand-in weights) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "a synthetic model is a stand-in whatever its record says": (
        (with_run(model_dir="synthetic:full"),),
        "verified (stand-in weights) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "weights that no record names are not real": (
        (with_record("checkpoint", data={}),),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass · weights not identified",
        31,
    ),
    "a check on other weights proves nothing": (
        (with_record("parity", signature={"device": "npu:0", "weights_kind": "stand-in"}),),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass · not on the checkpoint: parity",
        31,
    ),
    "weights that were replaced between two checks are not one model's": (
        (
            with_record("splice", signature={"device": "npu:0", "weights_name": "granite", "weights_sha256": "1"}),
            with_record("parity", signature={"device": "npu:0", "weights_name": "granite", "weights_sha256": "2"}),
        ),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass · not on the checkpoint: parity",
        31,
    ),
    "times beyond the chip's reference weaken the verdict": (
        (with_record("benchmark", data={"beyond_reference": "beyond the reference of 910B4"}),),
        "verified · npu:0 · bfloat16 · level 2 · 19 pass · "
        "other times than the reference: beyond the reference of 910B4",
        0,
    ),
    "the sharp check has weights of its own": (
        (with_record("sharp", signature={"device": "npu:0", "weights_kind": "stand-in"}),),
        "verified · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "the sharp check is on the device of the run all the same": (
        (with_record("sharp", signature={"device": "cpu", "weights_kind": "stand-in"}),),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass · not on the asked device: sharp on cpu",
        31,
    ),
    "a check beyond the essential ones may use its own weights": (
        (with_record("float32", signature={"device": "npu:0", "weights_kind": "stand-in"}),),
        "verified · npu:0 · bfloat16 · level 2 · 20 pass",
        0,
    ),
    "an emulated record is marked": (
        (with_record("splice", emulated=True),),
        "verified (EMULATED) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "an emulated device is marked": (
        (with_record("device", data={"kind": "npu", "index": 0, "emulated": True}),),
        "verified (EMULATED) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "an emulated failure is marked": (
        (with_record("parity", Status.FAIL, "far", emulated=True),),
        "failed (EMULATED) · npu:0 · bfloat16 · level 2 · 18 pass, 1 fail (parity: far)",
        30,
    ),
    "a substitution is marked": (
        (with_setup(status="pass", data={"apart": [POST2]}),),
        "verified (substituted versions) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "a substitution that only the running environment shows is marked": (
        (with_record("packages", data={"rows": [POST2, {"name": "numpy", "ok": True, "substituted": False}]}),),
        "verified (substituted versions) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "all qualifiers, in one order": (
        (
            with_setup(status="pass", data={"apart": [POST2]}),
            with_record("checkpoint", data={"kind": "stand-in"}),
            with_record("machine", emulated=True),
        ),
        "verified (EMULATED, stand-in weights, substituted versions) · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
    "another device than that of the option is no verification": (
        (with_record("device", data={"kind": "cpu", "index": 0}),),
        "incomplete · cpu (npu:0 asked) · bfloat16 · level 2 · 19 pass · "
        "not on the asked device: npu:0 asked, cpu used",
        31,
    ),
    "another card than that of the option is no verification": (
        (with_run(device="npu:1"),),
        "incomplete · npu:0 (npu:1 asked) · bfloat16 · level 2 · 19 pass · "
        "not on the asked device: npu:1 asked, npu:0 used",
        31,
    ),
    "one check that fell back to the CPU is named": (
        (with_record("generate", signature={"device": "cpu"}),),
        "incomplete · npu:0 · bfloat16 · level 2 · 19 pass · not on the asked device: generate on cpu",
        31,
    ),
    "a device that no record names is not that of the option": (
        (with_record("device", data={}),),
        "incomplete · npu:0 asked · bfloat16 · level 2 · 19 pass · device not identified",
        31,
    ),
    "setup failed before anything ran": (
        (nothing_verified, with_setup(status="fail", reason="no driver", data={"device": "npu:0"})),
        "failed · npu:0 asked · setup did not succeed: no driver · verification never started",
        30,
    ),
    "setup broke before anything ran": (
        (nothing_verified, with_setup(status="error", reason="interrupted", data={})),
        "not verified · setup did not succeed: interrupted · verification never started",
        31,
    ),
    "a failed setup outweighs passes": (
        (with_setup(status="fail", reason="no torch-npu", data={}),),
        "failed · npu:0 · bfloat16 · level 2 · 19 pass · setup did not succeed: no torch-npu",
        30,
    ),
    "setup without verification": (
        (nothing_verified,),
        "not verified · verification never started",
        31,
    ),
    "a run without a setup of its own": (
        (lambda evidence: replace(evidence, setup=None),),
        "verified · npu:0 · bfloat16 · level 2 · 19 pass",
        0,
    ),
}


def changed(case: str) -> Evidence:
    evidence = healthy()
    for change in CASES[case][0]:
        evidence = change(evidence)
    return evidence
