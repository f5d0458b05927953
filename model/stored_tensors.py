"""The tensors of a checkpoint by name, read from the shards one at a time when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from model.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch


class StoredTensors(Mapping[str, "torch.Tensor"]):
    """What the files hold, on the CPU, floating point converted to `dtype` as the loader converts it."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        from safetensors import safe_open

        self.dtype = dtype
        self.shapes = {name: entry.shape for name, (_, entry) in checkpoint.entries.items()}
        self._shard_of = {name: path for name, (path, _) in checkpoint.entries.items()}
        self._open = {path: safe_open(path, framework="pt") for path in checkpoint.shards}

    def __getitem__(self, name: str) -> torch.Tensor:
        from torch.utils._python_dispatch import _disable_current_modes

        with _disable_current_modes():  # what watches or changes the layers' operators has nothing to do with the file
            tensor: torch.Tensor = self._open[self._shard_of[name]].get_tensor(name)  # type: ignore[no-untyped-call]
            return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def __contains__(self, name: object) -> bool:
        return name in self._shard_of  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._shard_of)

    def __len__(self) -> int:
        return len(self._shard_of)
