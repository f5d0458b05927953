"""Reference values take long: a full disk does not throw them away, and who waits sees how far it is."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from env.errors import StorageError
from env.language import Message
from model import threads
from model.checkpoint import Checkpoint
from model.components import Inputs
from model.reference import Reference
from model.size import FULL_SIZE
from verify.reference import file, make, noise, points, values
from verify.reference.progress import Progress
from verify.reference.values import Expected
from verify.run import screen
from verify.run.records import Record, Status

# What the library says of a disk that is full, as it came from a tmpfs of 64 KiB (safetensors 0.8.0).
FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.fixture(scope="module")
def said() -> list[Message]:
    return []


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def expected(
    tiny_checkpoint: Checkpoint, tiny_inputs: Inputs, said: list[Message], told: list[tuple[int, int]]
) -> Expected:
    """Made as of a large model, in the fewest passes."""
    progresses: list[Progress] = []

    class Watched(Progress):
        def __init__(self, total: int) -> None:
            super().__init__(total, show=said.append)
            progresses.append(self)

    description = values.describe(tiny_checkpoint, "0" * 64, tiny_inputs, "bfloat16")
    large = replace(description, tokens=2, deep=False, dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "Progress", Watched)
        for module in (make, noise):
            patch.setattr(module, "DEVICES", 1)
        patch.setattr(noise, "COMPONENT_DEVICES", 1)
        made = make.make(tiny_checkpoint, tiny_inputs, large)
    told += [(progress._done, progress._total) for progress in progresses]
    return made


def fill_up(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on `folder` takes no file of tensors."""
    whole = safetensors.torch.save_file

    def save_file(tensors: Any, path: Path, metadata: Mapping[str, str]) -> None:
        if Path(path).is_relative_to(folder):
            raise SafetensorError(FULL)
        whole(tensors, path, dict(metadata))

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)


def test_values_that_cannot_be_kept_serve_the_run_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs,
    expected: Expected, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(make, "make", lambda *arguments: expected)
    kept = file.cached(tiny_checkpoint, tiny_inputs, expected.description, tmp_path / "kept")
    fill_up(monkeypatch, tmp_path / "full")
    here = file.cached(tiny_checkpoint, tiny_inputs, expected.description, tmp_path / "full")
    said = "reference values could not be kept, and will be made again: No space left on device"
    assert capsys.readouterr().err == f"{said}\n"
    assert list((tmp_path / "full").iterdir()) == []
    assert here.sha256 == kept.sha256  # of the file that there would have been
    assert all(torch.equal(here.values[key], value) for key, value in kept.values.items())
    assert points.described(here).as_json()["unkept"]["message"].startswith("reference values could not be kept")
    assert "unkept" not in points.described(kept).as_json()


def test_a_run_says_once_what_it_could_not_keep(expected: Expected, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = points.described(replace(expected, unkept=Message("not kept")))

    class Figures:
        def __init__(self) -> None:
            self.reference = reference

    monkeypatch.setattr(Record, "figures", property(lambda record: Figures() if record.check != "load" else None))
    bare = Record("load", 2, Status.PASS, "", "", 0, {}, {}, "")
    records = [replace(bare, check=name) for name in ("load", "layers", "tokens")]
    assert list(screen.cautions(records)) == ["caution: not kept"]


def test_a_file_that_cannot_be_written_after_the_work_is_put_elsewhere_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Expected
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    fill_up(monkeypatch, tmp_path / "full")
    path = tmp_path / "full" / "mine.safetensors"
    with pytest.raises(StorageError) as caught:
        file.save_somewhere(expected, path)
    (elsewhere,) = (tmp_path / "tmp").iterdir()
    assert caught.value.why == f"No space left on device; the values are kept in {elsewhere}"
    assert caught.value.next == f"mv {elsewhere} {path}"
    assert len(file.read(elsewhere).sha256) == 64
    fill_up(monkeypatch, tmp_path)
    with pytest.raises(StorageError) as caught:
        file.save_somewhere(expected, path)
    assert caught.value.next.startswith("free some space")


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        file.require_writable(tmp_path / "taken" / "mine.safetensors")
    (tmp_path / "old").write_text("an older one", encoding="utf-8")
    file.require_writable(tmp_path / "old")
    assert (tmp_path / "old").read_text(encoding="utf-8") == "an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "taken"]


def test_progress_is_said_of_what_takes_long_and_of_nothing_else() -> None:
    lines: list[Message] = []
    moments = iter([0.0, 1.0, 4.0, 9.9, 12.0, 13.0, 31.0])
    progress = Progress(26, clock=lambda: next(moments), show=lines.append)
    for _ in range(3):
        progress()
    assert lines == []
    for _ in range(3):
        progress()
    assert lines == ["reference values: 4 of 26 passes, 12 s", "reference values: 6 of 26 passes, 31 s"]


@pytest.mark.usefixtures("expected")
def test_every_pass_of_a_reference_is_told(told: list[tuple[int, int]], said: list[Message]) -> None:
    assert told == [(1 + 2 + 2, 1 + 2 + 2)]
    assert said[0].startswith("reference values of synthetic:tiny on the CPU: 5 passes of ")


@pytest.mark.parametrize(
    ("variable", "affinity", "quota", "count"),
    [
        (None, 192, "max 100000", 32),  # a Kunpeng host
        ("1", 192, "max 100000", 32),  # in an image that exports it
        ("1", 2, "max 100000", 2),
        ("8", 192, "max 100000", 8),  # a user's own choice
        ("192", 192, "max 100000", 32),
        ("4,2", 16, "max 100000", 16),  # OpenMP's nested form
        (None, 192, "400000 100000", 4),  # docker --cpus 4
        (None, 192, "50000 100000", 1),
        (None, 16, None, 16),  # neither cgroup
    ],
)
def test_a_reference_has_as_many_threads_as_serve_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, affinity: int, quota: str | None, count: int
) -> None:
    if variable is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "CFS", (tmp_path / "quota", tmp_path / "period"))
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n", encoding="ascii")
    assert threads.of_reference(FULL_SIZE) == count
    assert threads.of_reference(FULL_SIZE - 1) is None


@pytest.mark.parametrize(("limit", "count"), [("-1", 6), ("300000", 3)])
def test_the_older_cgroup_limits_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "absent")
    monkeypatch.setattr(threads, "CFS", (tmp_path / "quota", tmp_path / "period"))
    (tmp_path / "quota").write_text(f"{limit}\n", encoding="ascii")
    (tmp_path / "period").write_text("100000\n", encoding="ascii")
    assert threads.cores() == count


def test_a_large_reference_takes_its_threads_and_gives_them_back(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_inputs: Inputs
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "of_reference", lambda parameters: before + 1)
    reference = Reference(tiny_checkpoint, "float32")
    during = []
    reference.model.register_forward_hook(lambda *call: during.append(torch.get_num_threads()))
    reference.forward(tiny_inputs.features, tiny_inputs.input_ids)
    assert during == [before + 1]
    assert torch.get_num_threads() == before


def test_the_library_s_error_of_a_full_disk_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Expected
) -> None:
    fill_up(monkeypatch, tmp_path)
    with pytest.raises(StorageError) as caught:
        file.save(expected, tmp_path / "mine.safetensors")
    assert caught.value.why == os.strerror(errno.ENOSPC)
