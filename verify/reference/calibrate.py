"""`python -m verify.reference.calibrate`: what real arithmetic adds to an ideal device's noise, into bounds.toml.

The factor of a kind is the largest ratio of measured error to ideal noise over all that were compared and all seeds
(the 100 % quantile; limits.toml keeps a margin on top). Kinds of layers that are much like the others share the row
"any".
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from env.atomic import write_text
from env.errors import run_main
from model import checkpoint, components, device, generation, stand_in
from model.components import DTYPES, Inputs, Loaded
from verify.reference import bounds, numerics, pairs, points
from verify.reference.make import make
from verify.reference.numerics import as_array
from verify.reference.values import LOGITS_POINT, MODES, Expected, describe

# Models and numbers of seeds. Of the small one every layer is watched; of the other, as of the real model, parts of
# layers, at the real widths.
MODELS = {"synthetic:tiny": 6, "synthetic:wide": 6, "model/data/stand-in": 6}
COMPONENT = "component"  # no points of a pass: each component has a row of its own
ALL_MODES = (*MODES, COMPONENT)
ALIKE = 1.25  # a kind whose factor stays below this many times the usual one has no row of its own

Pair = tuple[float, float]  # of rel_l2 and worst_element
Factors = dict[str, dict[str, dict[str, Pair]]]  # by mode, dtype, kind
Ratios = dict[tuple[str, str, str], list[Pair]]  # by mode, dtype, kind


def ratios(
    models: Mapping[str, int], dtypes: Sequence[str], modes: Sequence[str], progress: Callable[[str], None]
) -> Ratios:
    """Measured error over ideal noise on the CPU, with other weights and inputs for each seed.

    Raises:
        UsageError: no such stand-in.
    """
    everything: Ratios = defaultdict(list)
    here = device.resolve("cpu")
    for name, seeds in models.items():
        for seed in range(1, seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                subject = checkpoint.inspect(stand_in.folder_of(name, seed, parent=Path(folder)))
                inputs = components.make_inputs(subject.architecture, batch=1, seq_len=32, seed=seed)
                description = replace(describe(subject, "", inputs, "float32"), dtypes=tuple(dtypes))
                expected = make(subject, inputs, description)
                for dtype in dtypes:
                    loaded = components.load(subject, here, dtype)
                    for mode in modes:
                        for kind, pair in _measured(loaded, inputs, expected, mode):
                            everything[mode, dtype, kind].append(pair)
            progress(f"{name} seed {seed}")
    return everything


def _measured(loaded: Loaded, inputs: Inputs, expected: Expected, mode: str) -> list[tuple[str, Pair]]:
    if mode == COMPONENT:
        return _of_components(loaded, inputs, expected)
    measured = []
    for reading in points.read_points(loaded, inputs, expected, mode):
        noise = expected.noise[loaded.dtype][mode][reading.point.key]
        measured.append((bounds.kind_of(reading.point), _ratio(reading.comparison, loaded.dtype, noise)))
    return measured + (_of_steps(loaded, inputs, expected) if mode == "end_to_end" else [])


def _of_steps(loaded: Loaded, inputs: Inputs, expected: Expected) -> list[tuple[str, Pair]]:
    """The scores of every step along the reference's tokens."""
    kind = bounds.kind_of(expected.points[LOGITS_POINT])
    vocabulary = expected.scores.shape[-1]
    steps = zip(
        generation.score(loaded, inputs, expected.tokens).reshape(-1, vocabulary),
        as_array(expected.scores).reshape(-1, vocabulary),
        strict=True,
    )
    noise = expected.scores_noise[loaded.dtype]
    return [(kind, _ratio(numerics.compare(*step), loaded.dtype, noise)) for step in steps]


def _of_components(loaded: Loaded, inputs: Inputs, expected: Expected) -> list[tuple[str, Pair]]:
    noise = expected.noise_of[loaded.dtype].components
    compared = {
        name: numerics.compare(as_array(actual), as_array(reference))
        for name, actual, reference in pairs.of_components(loaded, inputs)
        if name in noise
    }
    return [(name, _ratio(comparison, loaded.dtype, noise[name])) for name, comparison in compared.items()]


def _ratio(comparison: numerics.Comparison, dtype: str, noise: Pair) -> Pair:
    assert comparison.rel_l2 is not None
    assert comparison.worst_element is not None
    rel, worst = bounds.least(dtype, noise)
    return comparison.rel_l2 / rel, comparison.worst_element / worst


def factors(everything: Ratios) -> Factors:
    """The largest ratio of every kind that has a row of its own, and of all the others together ("any").

    Isolated, the usual factor is 1: what rounds as an ideal device does. End to end it is the median of all kinds.
    """
    table: Factors = {}
    for mode, dtype in sorted({key[:2] for key in everything}):
        largest = {
            kind: (max(rel for rel, _ in ratios), max(worst for _, worst in ratios))
            for (of_mode, of_dtype, kind), ratios in sorted(everything.items())
            if (of_mode, of_dtype) == (mode, dtype)
        }
        grouped = _grouped(largest, mode) if mode in MODES else largest
        table.setdefault(mode, {})[dtype] = {
            kind: (_up(max(1.0, rel)), _up(max(1.0, worst))) for kind, (rel, worst) in grouped.items()
        }
    return table


def _grouped(largest: Mapping[str, Pair], mode: str) -> dict[str, Pair]:
    usual = (1.0, 1.0) if mode == "isolated" else _usual(list(largest.values()))
    rows: dict[str, Pair] = {"any": (1.0, 1.0)}
    for kind, (rel, worst) in largest.items():
        row = "any" if rel < ALIKE * usual[0] and worst < ALIKE * usual[1] else kind
        known = rows.get(row, (1.0, 1.0))
        rows[row] = max(known[0], rel), max(known[1], worst)
    return rows


def _usual(ratios: Sequence[Pair]) -> Pair:
    rel, worst = (max(1.0, statistics.median(figures)) for figures in zip(*ratios, strict=True))
    return rel, worst


def _up(value: float) -> float:
    """Rounded up to two decimals, so that what was measured stays inside."""
    return math.ceil(value * 100) / 100


def text(table: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], measured_on: Mapping[str, str]) -> str:
    """bounds.toml, of factors by mode, dtype and kind, and of what each mode was measured on."""
    lines = [*(f"# {line}" for line in HEADER.splitlines()), "", "schema = 2", "", "[measured_on]"]
    lines += [f'{mode} = "{where}"' for mode, where in sorted(measured_on.items())]
    for mode, dtypes in sorted(table.items()):
        for dtype, rows in sorted(dtypes.items()):
            lines += ["", f"[{mode}.{dtype}]"]
            lines += [f'"{kind}" = [{rel}, {worst}]' for kind, (rel, worst) in rows.items()]
    return "\n".join(lines) + "\n"


HEADER = """\
What real arithmetic adds to the noise of ideal devices: by mode, dtype and kind the largest ratio of measured error to
noise, of the relative L2 error and of the worst element. Written by calibrate.py, read by bounds.py; what is chosen,
and how a bound is made of both, is in limits.toml.\
"""


def kept(modes: Sequence[str]) -> tuple[Factors, dict[str, str]]:
    """What bounds.toml holds of all other modes, and what that was measured on."""
    table = bounds.measured()
    others = [mode for mode in ALL_MODES if mode in table and mode not in modes]
    return {mode: table[mode] for mode in others}, {mode: table["measured_on"][mode] for mode in others}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify.reference.calibrate", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--model-dir", choices=MODELS, help="only this one (default: all)")
    parser.add_argument("--dtype", action="append", choices=sorted(DTYPES), help="repeatable (default: all)")
    parser.add_argument("--mode", action="append", choices=ALL_MODES, help="repeatable; other modes' rows are kept")
    parser.add_argument("--seeds", type=int, help="weights and inputs to try of each")
    parser.add_argument("--write", action="store_true", help=f"write {bounds.BOUNDS.name}; else it is printed")
    options = parser.parse_args(argv)
    modes = options.mode or ALL_MODES
    models = {name: options.seeds or seeds for name, seeds in MODELS.items() if options.model_dir in (None, name)}
    everything = ratios(
        models, options.dtype or sorted(DTYPES), modes, lambda line: print(line, file=sys.stderr, flush=True)
    )
    tried = ", ".join(f"{name} with {seeds} seeds" for name, seeds in models.items())
    machine = f"a CPU ({platform.machine()}, torch {torch.__version__.partition('+')[0]})"
    table, measured_on = kept(modes)
    for mode in modes:
        count = sum(len(ratios) for (of_mode, _, _), ratios in everything.items() if of_mode == mode)
        measured_on[mode] = f"{machine}: {tried}, {count:,} ratios"
    document = text(table | factors(everything), measured_on)
    if options.write:
        write_text(bounds.BOUNDS, document)
    else:
        print(document, end="")
    return 0


if __name__ == "__main__":
    run_main(main)
