"""`python -m verify.reference.calibrate`: what real arithmetic adds to an ideal device's noise, into bounds.toml.

The factor of a kind of layer is the largest ratio of measured error to ideal noise over all its points and all seeds
(the 100 % quantile; a margin is kept on top). Kinds that are much like the others share the row "any".
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from env.atomic import write_text
from env.errors import run_main
from model import generation
from model.components import Inputs, Loaded
from verify.reference import bounds, numerics, points
from verify.reference import values as expected
from verify.reference.numerics import as_array
from verify.reference.values import Expected

# Models and numbers of seeds. Of the small one every layer is watched; of the other, as of the real model, parts of
# layers, at the real widths.
MODELS = {"synthetic:tiny": 6, "synthetic:wide": 6, "model/data/stand-in": 6}
# What a device may be worse by than this one: bfloat16 and float16 are ruled by the rounding of stored values, which
# is the same everywhere; in float32 the order of a sum is the library's own.
MARGIN = {"bfloat16": 2.0, "float16": 2.0, "float32": 8.0}
ALIKE = 1.25  # a kind whose factor stays below this many times the usual one has no row of its own

Factors = dict[str, dict[str, dict[str, tuple[float, float]]]]  # by mode, dtype, kind: of rel_l2 and worst_element
Ratios = dict[tuple[str, str, str], list[tuple[float, float]]]  # by mode, dtype, kind


def ratios(models: Mapping[str, int], dtypes: Sequence[str], say: Callable[[str], None]) -> Ratios:
    """Measured error over ideal noise at every point, on the CPU, with other weights and inputs for each seed.

    Raises:
        UsageError: no such stand-in.
    """
    from model import checkpoint, components, device, stand_in

    found: Ratios = defaultdict(list)
    here = device.resolve("cpu")
    for name, seeds in models.items():
        for seed in range(1, seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                subject = checkpoint.inspect(stand_in.folder_of(name, seed, parent=Path(folder)))
                inputs = components.make_inputs(subject.architecture, batch=1, seq_len=32, seed=seed)
                wanted = expected.about(subject, "", inputs, "float32") | {"dtypes": dtypes}
                values = expected.make(subject, inputs, wanted)
                for dtype in dtypes:
                    for key, pairs in _measured(components.load(subject, here, dtype), inputs, values).items():
                        found[key] += pairs
            say(f"{name} seed {seed}")
    return found


def _measured(loaded: Loaded, inputs: Inputs, values: Expected) -> Ratios:
    found: Ratios = defaultdict(list)
    for mode in expected.MODES:
        for reading in points.read_points(loaded, inputs, values, mode):
            noise = values.noise[loaded.dtype][mode][reading.point.key]
            pair = _ratio(reading.comparison, bounds.least(loaded.dtype, noise))
            found[mode, loaded.dtype, bounds.kind_of(reading.point)].append(pair)
    output = bounds.kind_of(values.points[points.LOGITS_POINT])
    noise = bounds.least(loaded.dtype, values.scores_noise[loaded.dtype])
    steps = zip(
        generation.score(loaded, inputs, values.tokens).reshape(-1, values.scores.shape[-1]),
        as_array(values.scores).reshape(-1, values.scores.shape[-1]),
        strict=True,
    )
    found["end_to_end", loaded.dtype, output] += [_ratio(numerics.compare(*step), noise) for step in steps]
    return found


def _ratio(found: numerics.Comparison, noise: tuple[float, float]) -> tuple[float, float]:
    assert found.rel_l2 is not None
    assert found.worst_element is not None
    return found.rel_l2 / noise[0], found.worst_element / noise[1]


def factors(found: Ratios) -> Factors:
    """The largest ratio of every kind that has a row of its own, and of all the others together ("any").

    Isolated, the usual factor is 1: what rounds as an ideal device does. End to end it is the median of all kinds.
    """
    result: Factors = {}
    for mode, dtype in sorted({key[:2] for key in found}):
        largest = {
            kind: (max(pair[0] for pair in pairs), max(pair[1] for pair in pairs))
            for (of_mode, of_dtype, kind), pairs in sorted(found.items())
            if (of_mode, of_dtype) == (mode, dtype)
        }
        usual = (1.0, 1.0) if mode == "isolated" else _usual(list(largest.values()))
        rows = result.setdefault(mode, {}).setdefault(dtype, {"any": (1.0, 1.0)})
        for kind, (rel, worst) in largest.items():
            row = "any" if rel < ALIKE * usual[0] and worst < ALIKE * usual[1] else kind
            known = rows.get(row, (1.0, 1.0))
            rows[row] = max(known[0], rel), max(known[1], worst)
    return result


def _usual(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    rel, worst = (max(1.0, statistics.median(figures)) for figures in zip(*pairs, strict=True))
    return rel, worst


def text(measured: Factors, how: str, floor: Mapping[str, Any]) -> str:
    """bounds.toml."""
    lines = [
        *(f"# {line}".rstrip() for line in HEADER.format(how=how, alike=ALIKE, devices=expected.DEVICES).splitlines()),
        "",
        "schema = 1",
        "",
        "[margin]",
    ]
    lines += [f"{dtype} = {margin}" for dtype, margin in MARGIN.items()]
    for device, modes in floor.items():
        for mode, values in modes.items():
            lines += ["", f"[floor.{device}.{mode}]", *(f"{dtype} = {value}" for dtype, value in values.items())]
    for mode, dtypes in measured.items():
        for dtype, rows in dtypes.items():
            lines += ["", f"[{mode}.{dtype}]"]
            lines += [f'"{kind}" = [{_up(rel)}, {_up(worst)}]' for kind, (rel, worst) in rows.items()]
    return "\n".join(lines) + "\n"


def _up(value: float) -> float:
    """Rounded up to two decimals, so that what was measured stays inside."""
    return math.ceil(value * 100) / 100


HEADER = """\
How far a point of the model may be from the reference. Written by calibrate.py, read by bounds.py.

bound = margin * factor * noise: noise is what ideal devices of the dtype are off by at that point with these weights
and inputs (values.py): they run the model's own code in the dtype, carry out every operator exactly and round its
result once. That is the standard model fl(x op y) = (x op y)(1 + d), |d| <= u, with the dtype's unit roundoff u (Higham
and Mary 2019, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5)), carried out, so
that depth, size and conditioning are in it. Isolated, where a layer is fed the reference's own input, noise is the
error of the device that rounds to nearest. End to end the roundings before a point add up along the few directions that
later layers pass on, and one device's error may be several times another's: noise is the largest of {devices} devices'
that round at random, over sqrt(2), as that has twice the variance of rounding to nearest.

Each pair is the factor of the relative L2 error and that of the worst element: the largest ratio of measured error to
noise over all points of the kind and all seeds. Kinds of layers whose factors stay below {alike} times the usual one
share the row "any"; isolated the usual one is 1, end to end it is the median kind's.

Measured on {how}.

margin: bfloat16 and float16 are ruled by the rounding of stored values, the same on every device; in float32 the order
of a sum and the last bits of exp and erf are the library's own.

floor: a real NPU was not calibrated. One layer is allowed what its vendor accepts for a single operator (2^-7, 2^-10,
2^-13: hiascend, ATK), the whole model in float32 the 3e-4 that lie between legitimate numerics (at most 2e-4 was seen)
and the smallest faults that were tried (6e-4).\
"""

FLOOR = {
    "npu": {
        "isolated": {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-13},
        "end_to_end": {"float32": 3e-4},
    }
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify.reference.calibrate", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--model-dir", choices=MODELS, help="only this one (default: all)")
    parser.add_argument("--dtype", action="append", choices=sorted(MARGIN), help="repeatable (default: all)")
    parser.add_argument("--seeds", type=int, help="weights and inputs to try of each")
    parser.add_argument("--write", action="store_true", help=f"write {bounds.BOUNDS.name}; else it is printed")
    given = parser.parse_args(argv)
    models = {name: given.seeds or seeds for name, seeds in MODELS.items() if given.model_dir in (None, name)}
    found = ratios(models, given.dtype or sorted(MARGIN), lambda line: print(line, file=sys.stderr, flush=True))
    import platform

    import torch

    points = sum(len(pairs) for pairs in found.values())
    tried = ", ".join(f"{name} with {seeds} seeds" for name, seeds in models.items())
    version = torch.__version__.partition("+")[0]
    how = f"a CPU ({platform.machine()}, torch {version}): {tried}, {points:,} points"
    document = text(factors(found), how, FLOOR)
    if given.write:
        write_text(bounds.BOUNDS, document)
    else:
        print(document, end="")
    return 0


if __name__ == "__main__":
    run_main(main)
