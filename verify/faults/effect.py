"""How far a fault moves the model's outputs, in units of the dtype's own noise. No check of verify has a part in it.

effect = the largest over outputs of |faulty - clean| / max(|clean - wide|, u |clean|), with the wide reference in
float64 on the CPU and u the dtype's unit roundoff (an output that the clean device gets exactly right, as the splice,
has no error of its own to compare with). Above 1 the fault moves an output by more than the dtype's arithmetic does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import gelu, generation
from model.reference import Reference
from verify.reference.bounds import UNIT_ROUNDOFF
from verify.reference.numerics import as_array
from verify.run.context import Context
from verify.run.verification import Verification

from .forked import Forked

Array = NDArray[np.float64]
Arrays = dict[str, Array]

TOKENS = 16  # as many as the reference of a small model has (verify/reference/values.py)
SCORES = "scores"  # of cached decoding, step by step
LIMIT_S = 60.0
RESULT = "effect.json"


def verification(options: Mapping[str, Any], folder: Path) -> Verification:
    return Verification(
        Context(
            device=options["device"],
            model_dir=options["model_dir"],
            dtype=options["dtype"],
            seed=options["seed"],
            level=2,
            run_folder=folder,
        )
    )


def outputs(session: Verification) -> Arrays:
    """Every component's output [...] on the run's inputs, and the scores [B, n, vocab] of cached decoding."""
    by_part = {name: as_array(step.output) for name, step in session.parts.items()}
    _, scores = generation.decode(session.model, session.inputs, TOKENS)
    return by_part | {SCORES: scores}


def wide(session: Verification) -> Arrays:
    """The same outputs of the float64 reference, decoded along its own tokens."""
    reference, inputs = Reference(session.checkpoint, "float64", gelu.of(session.device).form), session.inputs
    encoded = reference.encode(inputs.features)
    audio = reference.project(encoded)
    merged = reference.splice(inputs.input_ids, audio)
    logits = reference.language_model(merged)
    values = {
        "encoder": encoded,
        "ctc_head": reference.ctc_head(encoded),
        "projector": audio,
        "splice": merged,
        "language_model": logits,
        "end_to_end": logits,
    }
    values[SCORES] = session.reference.scores
    return {name: as_array(value) for name, value in values.items()}


def write(path: Path, arrays: Arrays) -> int:
    np.savez(path, **arrays)
    return 0


def _computed(make: Any, path: Path) -> Arrays | None:
    """`make()` in a process of its own; None where that did not end well."""
    with path.with_suffix(".log").open("ab") as log:
        process = Forked(lambda: write(path, make()), log.fileno())
    process.stdin.close()
    try:
        if process.wait(LIMIT_S) != 0:
            return None
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def clean(options: Mapping[str, Any], folder: Path) -> None:
    """Keep what the device gives without faults, and what the wide reference gives, for `measure`.

    Raises:
        RuntimeError: the clean device does not compute.
    """
    for dtype in options["dtypes"]:
        session = verification({**options, "dtype": dtype}, folder)
        for name, make in (("clean", outputs), ("wide", wide)):
            if _computed(lambda make=make, session=session: make(session), folder / f"{name}-{dtype}.npz") is None:
                raise RuntimeError(f"{name} outputs in {dtype} cannot be computed: see {folder}")


def measure(options: Mapping[str, Any], folder: Path) -> None:
    """Write effect.json: {dtype: {"effect": number or null, "where": name or null}}; null where it is not finite or
    the device gave nothing. Once it is beyond noise in one dtype no other is tried.
    """
    by_dtype: dict[str, dict[str, Any]] = {}
    base = Path(options["clean"])
    for dtype in options["dtypes"]:
        if any(entry["effect"] is None or entry["effect"] > 1.0 for entry in by_dtype.values()):
            break
        session = verification({**options, "dtype": dtype}, folder)
        faulty = _computed(lambda session=session: outputs(session), folder / f"faulty-{dtype}.npz")
        by_dtype[dtype] = {"effect": None, "where": None} if faulty is None else _largest(faulty, base, dtype)
        (folder / f"faulty-{dtype}.npz").unlink(missing_ok=True)
    (folder / RESULT).write_text(json.dumps(by_dtype), encoding="utf-8")


def _largest(faulty: Arrays, base: Path, dtype: str) -> dict[str, Any]:
    with np.load(base / f"clean-{dtype}.npz") as right, np.load(base / f"wide-{dtype}.npz") as reference:
        effects = {}
        for name in right.files:
            ours, own, theirs = faulty[name], right[name], reference[name]
            if name == SCORES:
                ours, own, theirs = _comparable(ours, own, theirs)
            effects[name] = ratio(ours, own, theirs, dtype)
    where = max(effects, key=lambda name: effects[name])
    return {"effect": effects[where] if np.isfinite(effects[where]) else None, "where": where}


def _comparable(faulty: Array, right: Array, reference: Array) -> tuple[Array, Array, Array]:
    """Scores [B, n, vocab] up to the first step at which another token may be taken: from there on nothing compares.

    Of equal scores, which bfloat16 has often, a CPU takes the first and an NPU the last: the sets are compared.
    """
    if faulty.shape != right.shape:
        return faulty, right, reference
    differing = (_largest_of(faulty) != _largest_of(right)).any(axis=(0, 2))
    steps = int(differing.argmax()) + 1 if differing.any() else right.shape[1]
    return faulty[:, :steps], right[:, :steps], reference[:, :steps]


def _largest_of(scores: Array) -> NDArray[np.bool_]:
    return np.equal(scores, scores.max(axis=-1, keepdims=True))


def ratio(faulty: Array, right: Array, reference: Array, dtype: str) -> float:
    """One output's effect; infinite where it is not finite or of another shape."""
    if faulty.shape != right.shape or not np.isfinite(faulty).all():
        return float("inf")
    moved = float(np.linalg.norm(faulty - right))
    size = float(np.linalg.norm(right))
    own = float(np.linalg.norm(right - reference)) if right.shape == reference.shape else 0.0
    return moved / max(own, UNIT_ROUNDOFF[dtype] * size, float(np.finfo(np.float64).tiny))
