"""Seeded stand-in checkpoints: `synthetic:tiny`, `:wide` and `:full`, for machines without the real weights.

They are ordinary checkpoint folders that the ordinary loader loads, marked by STAND_IN.json. `synthetic:full` has the
real model's shapes (data/granite-speech-4.1-2b.json: ibm-granite/granite-speech-4.1-2b at revision 8f4bb5f3, rebuilt
from public converters; its 2,313,141,596 parameters and 938 + 16 tensors equal the published counts), `synthetic:wide`
its widths in two layers of each kind, on which limits that depend on width are calibrated.

The library's own initialisation (std 0.02) will not do: a linear layer that is 1 % wrong then moves the logits by 5e-7.
Here every layer is scaled so that its output counts (`_spread`), attention and the CTC feedback included.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import statistics
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.atomic import replacing, write_json
from env.errors import StorageError, UsageError, storage_error
from env.language import _
from model.architecture import Shape, parse
from model.checkpoint import CONFIG_FILE, INDEX_FILE, SINGLE_FILE, STAND_IN_FILE
from model.safetensors_format import ITEM_BYTES, write_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREFIX = "synthetic:"
CONFIGS = {"tiny": "tiny.json", "wide": "wide.json", "full": "granite-speech-4.1-2b.json"}  # under model/data
ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "stand-ins"
FULL_SEED = 42  # synthetic:full has one set of weights whatever the run's seed: each takes 4.6 GB
RECIPE = 1  # raise when the same seed would give other weights
SHARD_BYTES = 2_000_000_000  # the real checkpoint too is in three shards


def is_stand_in(model_dir: str) -> bool:
    return model_dir.startswith(PREFIX)


def config_file(model_dir: str) -> Path:
    """The config.json that `--model-dir` names: the folder's, or the one that a stand-in is made by.

    Raises:
        UsageError: there is no stand-in of that name.
    """
    if not is_stand_in(model_dir):
        return Path(model_dir) / "config.json"
    name = model_dir.removeprefix(PREFIX)
    if name not in CONFIGS:
        known = ", ".join(PREFIX + known for known in CONFIGS)
        raise UsageError(
            _("no stand-in named {name}", name=repr(model_dir)),
            next=_("--model-dir one of {known}, or a checkpoint folder", known=known),
        )
    return Path(__file__).parent / "data" / CONFIGS[name]


def folder_of(
    model_dir: str, seed: int, *, parent: Path = FOLDER, progress: Callable[[str], None] = lambda line: None
) -> Path:
    """The checkpoint folder that `--model-dir` names: itself, or the stand-in's, made if it is not there yet.

    Raises:
        UsageError: there is no stand-in of that name.
        StorageError: it cannot be written; nothing half-written is left.
    """
    if not is_stand_in(model_dir):
        return Path(model_dir)
    config = json.loads(config_file(model_dir).read_text(encoding="utf-8"))
    name = model_dir.removeprefix(PREFIX)
    if name == "full":
        seed = FULL_SEED
    digest = hashlib.sha256(json.dumps([RECIPE, config], sort_keys=True).encode()).hexdigest()[:12]
    folder = parent / f"{name}-seed{seed}-{digest}"
    if not (folder / STAND_IN_FILE).exists():
        try:
            _make(folder, config, seed, model_dir, progress)
        except OSError as error:
            raise storage_error(error, folder) from error
        except StorageError:
            if not (folder / STAND_IN_FILE).exists():  # another process was faster: its folder holds the same bytes
                raise
    return folder


def _make(folder: Path, config: Mapping[str, Any], seed: int, name: str, progress: Callable[[str], None]) -> None:
    """Write beside and rename, so that a folder of this name is whole or absent, also after Ctrl-C."""
    architecture, problems = parse(config)
    assert architecture is not None, problems
    shapes = architecture.tensors()
    needed = sum(_bytes(tensor, shape) for tensor, shape in shapes.items())
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < needed * 1.02:
        raise StorageError(
            _(
                "{name} takes {needed:.1f} GB, and {folder} has {free:.1f} GB left",
                name=name,
                needed=needed / 1e9,
                folder=folder.parent,
                free=free / 1e9,
            ),
            next=f"df -h {folder.parent}",
        )
    with replacing(folder) as temporary:
        temporary.mkdir()
        write_weights(temporary, config, seed, progress)
        write_json(temporary / CONFIG_FILE, config)
        write_json(temporary / STAND_IN_FILE, {"schema": 1, "name": name, "seed": seed, "recipe": RECIPE})


def _sweep(parent: Path) -> None:
    """Remove what a killed process left behind."""
    for leftover in parent.glob(".*.tmp"):
        with contextlib.suppress(ValueError, OSError):
            pid = int(leftover.name.split(".")[-2])
            if not Path(f"/proc/{pid}").exists():
                shutil.rmtree(leftover)


def write_weights(
    folder: Path, config: Mapping[str, Any], seed: int, progress: Callable[[str], None] = lambda line: None
) -> None:
    """The seeded weights of a config.json, in as many shards as they need."""
    architecture, problems = parse(config)
    assert architecture is not None, problems
    shapes = architecture.tensors()
    shards = _split(shapes)
    total = sum(_bytes(name, shape) for name, shape in shapes.items())
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = SINGLE_FILE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        if len(shards) > 1:
            progress(
                _(
                    "writing stand-in weights {number}/{count} ({size:.1f} GB)",
                    number=number,
                    count=len(shards),
                    size=total / 1e9,
                )
            )
        write_file(
            folder / file,
            [(name, _dtype(name), shapes[name]) for name in names],
            lambda name: _values(name, shapes[name], config, seed),
            {"format": "pt"},
        )
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _split(shapes: Mapping[str, Shape]) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = _bytes(name, shape)
        if filled and filled + size > SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _dtype(name: str) -> str:
    return "I64" if name.endswith("num_batches_tracked") else "BF16"


def _bytes(name: str, shape: Shape) -> int:
    return math.prod(shape) * ITEM_BYTES[_dtype(name)]


def _values(name: str, shape: Shape, config: Mapping[str, Any], seed: int) -> memoryview | bytes:
    """The bytes of one tensor. Each has a generator of its own, so that order and sharding do not matter.

    Normal values are looked up by 16 random bits in a table of the distribution's 65,536 quantiles: about 20 times
    faster than drawing them, and 2.3 billion are needed. SFC64's raw stream is the same on every platform (NEP 19).
    """
    import numpy as np

    if name.endswith("num_batches_tracked"):
        return np.zeros(1, "<i8").tobytes()
    centre, spread = _spread(name, shape, config)
    table = _bfloat16(centre + spread * _quantiles())
    key = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:16], "little")
    count = math.prod(shape)
    generator = np.random.SFC64(key)
    drawn = np.empty(count, np.uint16)
    step = 1 << 24  # values at a time, so that the raw bits of the largest tensor are never all in memory
    for start in range(0, count, step):
        size = min(step, count - start)
        bits = generator.random_raw(-(-size // 4)).view(np.uint16)[:size]
        np.take(table, bits, out=drawn[start : start + size])
    return drawn.data.cast("B")


@cache
def _quantiles() -> NDArray[np.float64]:
    import numpy as np

    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(65536)])


def _bfloat16(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Round to nearest, ties to even: the upper 16 bits of the float32."""
    import numpy as np

    bits = values.astype(np.float32).view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def _spread(name: str, shape: Shape, config: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's values, such that every layer's output has a size of about one.

    A matrix of [out, in] keeps the size of its input at 1/sqrt(in). Beyond that:
    query and key are scaled so that attention's own multiplier leaves logits of about one (otherwise attention is flat
    and its faults are invisible); the CTC head is peaked, because its softmax is fed back; embeddings and the
    projector's output undo the embedding multiplier, and the head undoes the logits' scaling.
    """
    text = config["text_config"]
    parts = name.split(".")
    owner, kind = parts[-2], parts[-1]
    if "norm" in owner.lower():
        return {"weight": (1.0, 0.1), "running_var": (1.0, 0.1)}.get(kind, (0.0, 0.1))
    if kind == "bias":
        return 0.0, 0.1 / text["embedding_multiplier"] if name == "projector.linear.bias" else 0.1
    if kind == "query" or owner == "rel_pos_emb":
        return 0.0, 1.0
    if owner == "embed_tokens":
        return 0.0, 1.0 / text["embedding_multiplier"]
    fan_in = math.prod(shape[1:])
    gain = 1.0
    if owner in ("q_proj", "k_proj"):
        head_size = text["hidden_size"] // text["num_attention_heads"]
        gain = (text["attention_multiplier"] * math.sqrt(head_size)) ** -0.5
    elif name == "encoder.out.weight":
        gain = 4.0
    elif name == "encoder.out_mid.weight":
        return 0.0, 1.0
    elif name == "projector.linear.weight":
        gain = 1.0 / text["embedding_multiplier"]
    elif owner == "lm_head":
        gain = 2.0 * text["logits_scaling"]
    elif owner == "down_proj":
        gain = 1.5  # SiLU takes away about a third
    return 0.0, gain / math.sqrt(fan_in)
