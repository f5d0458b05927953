"""What every layer gives on the run's inputs, computed once on the CPU in a wider dtype and kept in a file.

An NPU machine need not run the reference: `python -m verify.reference` makes the file anywhere, and `--reference FILE`
brings it. Beside the values the file holds how far ideal devices of each dtype are from them (`noise`): the model's own
code in that dtype, every operator exact and its result rounded once (rounding.py). Of a layer that is fed the
reference's own input it is the error of the device that rounds to nearest. End to end all roundings before a point sum
up along the few directions that the layers after them pass on, one device being several times as lucky as another: it
is the largest error of several devices that round at random.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.atomic import replacing
from env.digest import file_sha256
from env.errors import ReferenceFileError
from env.stack import ROOT
from model import device
from model.checkpoint import Checkpoint
from model.components import DTYPES, Inputs, torch_dtype
from model.generation import choosable, never_chosen
from model.size import FULL_SIZE

if TYPE_CHECKING:
    import torch

    from model.hooks import Point
    from model.reference import Reference

SCHEMA = 2  # 1: noise of one rounding a layer
FOLDER = ROOT / ".cache" / "references"
MODES = ("isolated", "end_to_end")
TOKENS, TOKENS_FULL = 16, 4  # a full-size model's file also holds whole parts of layers only
DEVICES = 8  # that round at random; bounds.toml's factors hold for this number
# What must be equal for a file to be a run's; "dtype", "tokens" and "dtypes" may be more than is asked.
IDENTITY = {
    "schema": "layout",
    "weights_sha256": "weights",
    "config_sha256": "config.json",
    "inputs_sha256": "inputs (--seed, --seq-len, --batch-size)",
    "transformers": "transformers version",
}

HOW_TO_MAKE = "python -m verify.reference.values --help"

Key = tuple[str, str, int, int]
Noise = tuple[float, float]  # numerics.relative_l2 and numerics.worst_element of ideal devices


@dataclass(frozen=True)
class Expected:
    """The reference's values at every point of a forward pass in order, its greedy tokens, and ideal devices' noise."""

    about: Mapping[str, Any]
    points: Mapping[Key, Point]
    values: Mapping[Key, torch.Tensor]
    noise: Mapping[str, Mapping[str, Mapping[Key, Noise]]]  # by dtype and mode
    tokens: torch.Tensor  # [B, n], as generation.generate decodes
    scores: torch.Tensor  # [B, n, vocab], what each was chosen from
    scores_noise: Mapping[str, Noise]  # by dtype, of the worst step
    sha256: str = ""  # of the file that it came from

    @property
    def deep(self) -> bool:
        return bool(self.about["deep"])


def about(
    checkpoint: Checkpoint, weights_sha256: str, inputs: Inputs, dtype: str, *, any_dtype: bool = False
) -> dict[str, Any]:
    """What a file for runs in `dtype` is made of, and how; `any_dtype`: of a small checkpoint, for runs in any.

    The reference is float64 where that costs little, and where float32 is verified: a run must not be its own
    reference.
    """
    small = checkpoint.parameters < FULL_SIZE
    config = json.dumps(checkpoint.config, sort_keys=True).encode()
    digest = hashlib.sha256()
    for tensor in (inputs.features.float(), inputs.input_ids):
        digest.update(f"{tensor.dtype} {list(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())
    versions = device.versions()
    return {
        "schema": SCHEMA,
        "weights_sha256": weights_sha256,
        "config_sha256": hashlib.sha256(config).hexdigest(),
        "inputs_sha256": digest.hexdigest(),
        "transformers": versions["transformers"],
        "dtype": "float64" if small or dtype == "float32" else "float32",
        "dtypes": list(DTYPES) if small and any_dtype else [dtype],
        "deep": small,
        "tokens": TOKENS if small else TOKENS_FULL,
        "versions": versions,
    }


def make(checkpoint: Checkpoint, inputs: Inputs, description: Mapping[str, Any]) -> Expected:
    """Run the reference as `about` describes it: once for its values, once a token, and 1 + DEVICES times a dtype.

    Weights are read as each layer needs them, so it takes the memory of the largest one and of the values.
    """
    from model.hooks import Hooks
    from model.reference import Reference

    reference = Reference(checkpoint, description["dtype"])
    points: dict[Key, Point] = {}
    values: dict[Key, torch.Tensor] = {}

    def keep(point: Point, tensor: torch.Tensor) -> None:
        points[point.key] = point
        values[point.key] = tensor.detach().clone()

    with Hooks(reference.model, keep, deep=description["deep"]):
        reference.forward(inputs.features, inputs.input_ids)
    tokens, scores = _greedy(reference, inputs, description["tokens"])
    silent = Expected(description, points, values, {}, tokens, scores, {})
    found = {dtype: _noise(Reference(checkpoint, dtype), inputs, silent) for dtype in description["dtypes"]}
    return replace(
        silent,
        noise={dtype: modes for dtype, (modes, _) in found.items()},
        scores_noise={dtype: of_scores for dtype, (_, of_scores) in found.items()},
    )


def _greedy(reference: Reference, inputs: Inputs, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` greedy tokens a row and their scores, without a cache: the audio once, then a pass over all ids a token.

    What the device never takes (generation.choosable) is not taken here.
    """
    import torch

    audio = reference.project(reference.encode(inputs.features))
    ids = inputs.input_ids
    scores = []
    for _ in range(count):
        last = choosable(reference.model, reference.language_model(reference.splice(ids, audio))[:, -1])
        scores.append(last)
        ids = torch.cat([ids, last.argmax(dim=-1, keepdim=True)], dim=1)
    return ids[:, inputs.positions :].clone(), torch.stack(scores, dim=1)


def _noise(narrow: Reference, inputs: Inputs, expected: Expected) -> tuple[dict[str, dict[Key, Noise]], Noise]:
    """By mode the noise of every point in the dtype of `narrow`, and that of the scores at the step with the most."""
    import torch

    from verify.reference.rounding import STOCHASTIC_EXCESS

    isolated, _ = _ideal(narrow, inputs.features, inputs.input_ids, expected, "isolated", None)
    # The reference's tokens are appended: what comes before them does not see them.
    ids = torch.cat([inputs.input_ids, expected.tokens[:, :-1]], dim=1)
    devices = [_ideal(narrow, inputs.features, ids, expected, "end_to_end", seed) for seed in range(DEVICES)]

    def largest(found: Iterable[Noise]) -> Noise:
        rel, worst = (max(figures) / STOCHASTIC_EXCESS for figures in zip(*found, strict=True))
        return rel, worst

    end_to_end = {key: largest(points[key] for points, _ in devices) for key in isolated}
    steps = [_scores_noise(narrow, logits[:, inputs.positions - 1 :], expected.scores) for _, logits in devices]
    return {"isolated": isolated, "end_to_end": end_to_end}, largest(steps)


def _ideal(
    narrow: Reference, features: torch.Tensor, ids: torch.Tensor, expected: Expected, mode: str, seed: int | None
) -> tuple[dict[Key, Noise], torch.Tensor]:
    """The errors of one ideal device at every point, and its logits [B, S, vocab]."""
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    from model.hooks import Hooks
    from verify.reference import numerics
    from verify.reference.numerics import as_array
    from verify.reference.rounding import RoundOnce

    found: dict[Key, Noise] = {}

    def visit(point: Point, tensor: torch.Tensor) -> torch.Tensor | None:
        if point.key not in expected.values:
            return None
        wide = expected.values[point.key]
        with _disable_current_modes():  # to compare is no operator of the device
            ours, theirs = as_array(tensor[tuple(slice(size) for size in wide.shape)]), as_array(wide)
            found[point.key] = (numerics.relative_l2(ours, theirs), numerics.worst_element(ours, theirs))
        return wide.to(torch_dtype(narrow.dtype)) if mode == "isolated" else None

    exact = torch.float64 if expected.about["dtype"] == "float64" else torch.float32
    with Hooks(narrow.model, visit, deep=expected.deep), RoundOnce(exact, seed):
        logits = narrow.forward(features, ids)
    return found, logits


def _scores_noise(narrow: Reference, logits: torch.Tensor, scores: torch.Tensor) -> Noise:
    """The error of one device's `logits` [B, n, vocab] at the step where it is largest."""
    import torch

    from verify.reference import numerics
    from verify.reference.numerics import as_array

    kept = torch.ones(scores.shape[-1], dtype=torch.bool)
    kept[never_chosen(narrow.model)] = False
    steps = [
        (as_array(ours[kept]), as_array(theirs[kept]))
        for ours, theirs in zip(logits.flatten(0, 1), scores.flatten(0, 1), strict=True)
    ]
    return max(numerics.relative_l2(*step) for step in steps), max(numerics.worst_element(*step) for step in steps)


def save(expected: Expected, path: Path) -> None:
    """Write the file by atomic rename; tensors that are equal are stored once.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    stored = {"tokens": expected.tokens, "scores": expected.scores}
    names: dict[str, str] = {}
    rows = []
    for key, point in expected.points.items():
        value = expected.values[key].contiguous()
        digest = hashlib.sha256(f"{list(value.shape)}".encode() + value.numpy().tobytes()).hexdigest()
        name = names.setdefault(digest, f"value.{len(names)}")
        stored[name] = value
        noise = {dtype: {mode: modes[mode][key] for mode in modes} for dtype, modes in expected.noise.items()}
        rows.append(asdict(point) | {"value": name, "noise": noise})
    # One entry: the library writes several in an order of its own, and the file would not be the same twice.
    said = {"about": dict(expected.about), "points": rows, "scores_noise": dict(expected.scores_noise)}
    metadata = {"reference": json.dumps(said)}
    with replacing(path) as temporary:
        try:
            save_file(stored, temporary, metadata)
        except SafetensorError as error:  # the library's own error for a disk that is full
            raise OSError(str(error)) from error


def read(path: Path) -> Expected:
    """Raises: ReferenceFileError, where the file is absent, damaged, or none that `save` wrote."""
    from safetensors import SafetensorError, safe_open

    from model.hooks import Point

    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["reference"])
            description, rows = metadata["about"], metadata["points"]
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        points: dict[Key, Point] = {}
        values: dict[Key, torch.Tensor] = {}
        noise: dict[str, dict[str, dict[Key, Noise]]] = {d: {m: {} for m in MODES} for d in description["dtypes"]}
        for row in rows:
            value, levels = stored[row.pop("value")], row.pop("noise")
            point = Point(**row)
            points[point.key], values[point.key] = point, value
            for dtype, modes in noise.items():
                for mode in modes:
                    modes[mode][point.key] = tuple(levels[dtype][mode])
        tokens, scores = stored["tokens"], stored["scores"]
        scores_noise = {dtype: (float(rel), float(worst)) for dtype, (rel, worst) in metadata["scores_noise"].items()}
    except FileNotFoundError as error:
        raise ReferenceFileError(f"no reference file at {path}", next=HOW_TO_MAKE) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ReferenceFileError(f"{path} is no reference file, or a damaged one: {error}", next=HOW_TO_MAKE) from error
    return Expected(description, points, values, noise, tokens, scores, scores_noise, file_sha256(path))


def require(expected: Expected, wanted: Mapping[str, Any], path: Path) -> None:
    """Refuse a file that is not of this checkpoint and these inputs, or that is not wide enough for this dtype.

    Raises:
        ReferenceFileError: everything that differs is named.
    """
    found = expected.about
    wrong = [
        f"other {what}: {str(found.get(field))[:16]} there, {str(wanted[field])[:16]} here"
        for field, what in IDENTITY.items()
        if found.get(field) != wanted[field]
    ]
    wrong += [f"nothing for {dtype}" for dtype in wanted["dtypes"] if dtype not in found.get("dtypes", ())]
    if wanted["dtype"] == "float64" != found.get("dtype"):
        wrong.append(f"values in {found.get('dtype')}, float64 needed")
    if wrong:
        raise ReferenceFileError(
            f"{path.name} does not fit this run: {'; '.join(wrong)}",
            why="it was made of another checkpoint, other inputs, or by other versions",
            next=HOW_TO_MAKE,
        )


def cached(checkpoint: Checkpoint, inputs: Inputs, wanted: Mapping[str, Any], folder: Path | None = None) -> Expected:
    """The kept file of exactly this description, made now where there is none or it is damaged.

    Raises:
        StorageError: it cannot be written.
    """
    name = hashlib.sha256(json.dumps(dict(wanted), sort_keys=True).encode()).hexdigest()[:16]
    path = (folder or FOLDER) / f"{checkpoint.name.replace(':', '-')}-{name}.safetensors"
    with contextlib.suppress(ReferenceFileError):
        expected = read(path)
        require(expected, wanted, path)
        return expected
    save(make(checkpoint, inputs, wanted), path)
    return read(path)
