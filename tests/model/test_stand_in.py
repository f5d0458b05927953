from __future__ import annotations

import errno
import json
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from env.errors import StorageError, UsageError
from model import stand_in
from model.architecture import parse
from model.checkpoint import inspect


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path / "a")
    again = stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path / "b")
    other = stand_in.folder_of("synthetic:tiny", 8, parent=tmp_path / "b")
    assert contents(first) == contents(again)
    assert contents(first)["model.safetensors"] != contents(other)["model.safetensors"]


def test_a_stand_in_passes_inspection_and_is_marked(synthetic_tiny: Path) -> None:
    found = inspect(synthetic_tiny)
    assert (found.kind, found.name, found.dtype) == ("stand-in", "synthetic:tiny", "bfloat16")
    assert 4e6 < found.bytes < 1e7


def test_a_folder_that_is_there_is_used_again(tmp_path: Path) -> None:
    folder = stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_checkpoint_folder_is_left_as_it_is(tmp_path: Path) -> None:
    assert stand_in.folder_of(str(tmp_path / "granite-speech-4.1-2b"), 42) == tmp_path / "granite-speech-4.1-2b"


def test_an_unknown_stand_in_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        stand_in.folder_of("synthetic:huge", 42)
    assert caught.value.what == "no stand-in named 'synthetic:huge'"
    assert "synthetic:tiny, synthetic:tiny-plus, synthetic:wide, synthetic:full" in caught.value.next


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError) as caught:
        stand_in.folder_of("synthetic:full", 42, parent=tmp_path)
    assert caught.value.what == f"synthetic:full takes 4.6 GB, and {tmp_path} has 1.0 GB left"
    assert list(tmp_path.iterdir()) == []


def test_full_size_is_made_once_whatever_the_seed_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(folder: Path, *arguments: Any) -> None:
        folder.mkdir()
        (folder / "STAND_IN.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(stand_in, "_make", make)
    folders = {stand_in.folder_of("synthetic:full", seed, parent=tmp_path) for seed in (1, 2)}
    assert len(folders) == 1


def failing_after(count: int, error: BaseException) -> Callable[..., Any]:
    written = iter(range(count))

    def values(*arguments: Any) -> Any:
        if next(written, None) is None:
            raise error
        return original(*arguments)

    original = stand_in._values
    return values


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["disk full", "Ctrl-C"],
)
def test_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException]
) -> None:
    monkeypatch.setattr(stand_in, "_values", failing_after(20, error))
    with pytest.raises(raised):
        stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    beyond_any_pid = 2**22 + 1
    dead, alive = tmp_path / f".tiny.{beyond_any_pid}.tmp", tmp_path / f".tiny.{os.getppid()}.tmp"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path)
    assert not dead.exists()
    assert alive.exists()


def test_a_folder_that_another_process_finished_first_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path)
    weights = (finished / "model.safetensors").read_bytes()
    looks = iter([False])  # not there yet when this process looked first
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: next(looks, None) is None and exists(path))
    assert stand_in.folder_of("synthetic:tiny", 7, parent=tmp_path) == finished
    monkeypatch.undo()
    assert (finished / "model.safetensors").read_bytes() == weights
    assert [path.name for path in tmp_path.iterdir()] == [finished.name]


def test_rounding_to_bfloat16_is_torch_s() -> None:
    import torch

    values = np.concatenate([np.random.default_rng(0).normal(size=4096), [0.0, 1.00390625, 1.01171875, -2.0]])
    expected = torch.from_numpy(values.astype(np.float32)).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(stand_in._bfloat16(values), expected)


def test_values_are_normal_around_their_centre() -> None:
    config = json.loads((Path(stand_in.__file__).parent / "data" / "tiny.json").read_text(encoding="utf-8"))
    raw = stand_in._values("encoder.layers.0.ff1.up_proj.weight", (512, 128), config, 3)
    bits = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
    values = bits.view(np.float32).astype(float) * np.sqrt(128)
    # 65,536 draws: mean within 4 / 256, standard deviation within 4 / (256 * sqrt 2), a normal's 68.3 % within one
    assert abs(statistics.fmean(values)) < 4 / 256
    assert abs(statistics.pstdev(values) - 1) < 4 / (256 * 2**0.5)
    assert abs(np.mean(np.abs(values) < 1) - 0.6827) < 0.008


def test_full_size_is_split_into_shards_that_hold_every_tensor_once() -> None:
    config = json.loads(
        (Path(stand_in.__file__).parent / "data" / stand_in.CONFIGS["full"]).read_text(encoding="utf-8")
    )
    architecture, _ = parse(config)
    assert architecture is not None
    shards = stand_in._split(architecture.tensors())
    assert len(shards) == 3
    assert [name for shard in shards for name in shard] == list(architecture.tensors())
