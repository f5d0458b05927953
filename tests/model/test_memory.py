"""What a checkpoint takes at least: below what a forward pass really held at its peak, and not far below."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from env.errors import CheckpointError, OutOfMemoryError
from model import cards, memory, stand_in
from model.checkpoint import read_architecture
from model.components import Loaded, make_inputs
from model.device import Device

TINY = stand_in.config_file("synthetic:tiny")
FULL = stand_in.config_file("synthetic:full")


class Peak(TorchDispatchMode):
    """The most bytes of tensors, weights left out, that were alive at once."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in model.state_dict().values()}
        self.bytes = self.peak = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        for storage in self._new(output):
            self.alive[storage._cdata] = storage.nbytes()
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._free, storage._cdata)
        return output

    def _new(self, output: Any) -> Iterator[Any]:
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in self.alive:
                yield leaf.untyped_storage()

    def _free(self, address: int) -> None:
        self.bytes -= self.alive.pop(address, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "frames"), [(1, 256), (4, 64), (2, 1024)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pass_holds_what_is_counted_and_little_more(
    request: pytest.FixtureRequest, dtype: str, batch: int, frames: int
) -> None:
    loaded: Loaded = request.getfixturevalue(f"tiny_{dtype}")
    architecture = loaded.checkpoint.architecture
    inputs = make_inputs(architecture, batch, frames, seed=1)
    with torch.inference_mode(), Peak(loaded.model) as whole:
        loaded.forward(inputs)
    with torch.inference_mode(), Peak(loaded.model) as encoder:
        loaded.model.encoder(inputs.features.to(next(loaded.model.parameters()).dtype))
    counted = memory.count(architecture, dtype, batch, frames)
    assert 0.85 * whole.peak <= counted.cache + counted.language_model <= whole.peak
    assert 0.5 * encoder.peak <= counted.encoder <= encoder.peak + inputs.features.nbytes
    weights = sum(tensor.nbytes for tensor in {id(t): t for t in loaded.model.state_dict().values()}.values())
    assert counted.weights == pytest.approx(weights, rel=0.02)


def test_the_published_model_takes_what_its_files_take() -> None:
    """4.6 GB of bfloat16; a cache of 80 KiB a position: 40 layers of keys and values, 4 heads of 128."""
    _config, architecture = read_architecture(FULL)
    counted = memory.count(architecture, "bfloat16", 1, 4096)
    assert counted.weights == pytest.approx(4.62e9, rel=0.01)
    assert counted.cache == 4096 * 2 * 40 * 4 * 128 * 2


def test_the_largest_batch_is_the_largest() -> None:
    _config, architecture = read_architecture(FULL)
    free = 16 * memory.GIB
    batch = memory.largest_batch(architecture, "bfloat16", 1500, free)
    assert memory.count(architecture, "bfloat16", batch, 1500).total <= free
    assert memory.count(architecture, "bfloat16", batch + 1, 1500).total > free
    assert memory.largest_batch(architecture, "float32", 1500, 4 * memory.GIB) == 0


@pytest.mark.parametrize(
    ("free", "dtype", "batch", "advice"),
    [
        (5.0, "bfloat16", 64, "--batch-size "),
        (5.0, "float32", 1, "--dtype bfloat16 --batch-size "),
        (1.0, "bfloat16", 1, "nothing of this model fits"),
    ],
)
def test_a_card_that_is_too_small_is_refused_with_what_would_fit(
    monkeypatch: pytest.MonkeyPatch, free: float, dtype: str, batch: int, advice: str
) -> None:
    _config, architecture = read_architecture(FULL)
    monkeypatch.setattr(memory, "available", lambda device: int(free * memory.GIB))
    monkeypatch.setattr(cards, "visible", lambda first: [first])
    monkeypatch.setattr(Device, "total_memory_bytes", 32 * memory.GIB)
    with pytest.raises(OutOfMemoryError, match=rf"npu:0 has {free:.2f} GiB free of 32.00, and at least") as caught:
        memory.require(Device("npu", 0, "npu:0"), architecture, dtype, batch, 1500)
    assert advice in str(caught.value.next)


@pytest.mark.parametrize("free", [None, 1 << 40])
def test_what_fits_or_cannot_be_told_is_not_refused(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    _config, architecture = read_architecture(FULL)
    monkeypatch.setattr(memory, "available", lambda device: free)
    memory.require(Device("npu", 0, "npu:0"), architecture, "float32", 8, 1500)


def test_the_command_prints_the_table_and_judges(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--model-dir", "synthetic:full", "--available", "32"]) == 0
    shown = capsys.readouterr().out
    assert "bfloat16, 1 rows of 32 frames" in shown
    assert "the largest batch that 32.00 GiB may hold:" in shown
    assert memory.main(["--model-dir", "synthetic:full", "--available", "1", "--json"]) == OutOfMemoryError.exit_code
    figures = json.loads(capsys.readouterr().out)
    assert figures["total"] == figures["weights"] + max(
        figures["encoder"], figures["cache"] + figures["language_model"]
    )


def test_a_folder_needs_no_weights_but_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(TINY.read_bytes())
    assert memory.main(["--model-dir", str(tmp_path)]) == 0
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        memory.main(["--model-dir", str(tmp_path / "none")])
