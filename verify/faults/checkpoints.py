"""Checkpoint folders that are not what they say: each a function from a copy of a right one to a damaged one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TENSOR = "encoder.layers.1.ff1.up_proj.weight"  # whose values are another training's


def damaged(kind: str, source: Path, folder: Path) -> Path:
    """A copy of the checkpoint in `source`, damaged, as `folder`.

    Raises:
        KeyError: no such damage.
    """
    damage = DAMAGES[kind]
    shutil.copytree(source, folder)
    damage(folder)
    return folder


def _cut(folder: Path, share: float) -> None:
    path = folder / WEIGHTS
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def truncated(folder: Path) -> None:
    _cut(folder, 0.66)


def truncated_header(folder: Path) -> None:
    _cut(folder, 0.0005)


def _in_two_shards(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    weights: dict[str, str] = {}
    for shard, half in zip(SHARDS, halves, strict=True):
        save_file({name: tensors[name] for name in half}, folder / shard, metadata={"format": "pt"})
        weights |= dict.fromkeys(half, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}), encoding="utf-8")
    (folder / WEIGHTS).unlink()


def swapped_shards(folder: Path) -> None:
    _in_two_shards(folder)
    first, second = (folder / shard for shard in SHARDS)
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)


def missing_shard(folder: Path) -> None:
    _in_two_shards(folder)
    (folder / SHARDS[1]).unlink()


def other_seed(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    right = tensors[TENSOR].float()
    drawn = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
    tensors[TENSOR] = (right.mean() + right.std() * drawn).to(tensors[TENSOR].dtype)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def flipped_bit(folder: Path) -> None:
    path = folder / WEIGHTS
    with path.open("r+b") as file:
        place = path.stat().st_size - 4097
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def fewer_layers(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["encoder_config"]["num_layers"] -= 1
    path.write_text(json.dumps(config), encoding="utf-8")


def pointer(folder: Path) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 8460784\n"
    (folder / WEIGHTS).write_text(text, encoding="utf-8")


DAMAGES: dict[str, Callable[[Path], None]] = {
    damage.__name__: damage
    for damage in (
        truncated, truncated_header, swapped_shards, missing_shard, other_seed, flipped_bit, fewer_layers, pointer
    )
}  # fmt: skip
