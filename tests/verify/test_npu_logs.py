"""CANN's logs of a run: what is read of them, what is kept, what is thrown away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verify.run import npu_logs


def written(folder: Path, text: str, pid: int = 7, kind: str = "debug") -> Path:
    path = folder / kind / "plog" / f"plog-{pid}_20261125160000000.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
    return path


def test_only_the_errors_of_this_process_since_the_check_began_are_read(tmp_path: Path) -> None:
    plog = npu_logs.Plog(str(tmp_path), 7)
    assert plog.errors() == ()
    written(tmp_path, "[ERROR] RUNTIME(7,python):2026-11-25-16:00:00.000.001 [a.cc:1]7 of an earlier check\n")
    plog.skip()
    written(tmp_path, "[ERROR] RUNTIME(7,python):2026-11-25-16:00:01.000.001 [a.cc:1]7 of this one\n" * 3)
    written(tmp_path, "[INFO] RUNTIME(7,python):2026-11-25-16:00:01.000.001 [a.cc:1]7 nothing\n")
    written(tmp_path, "[ERROR] of another\n", pid=77)
    written(tmp_path, "[ERROR] HCCL(7,python):2026-11-25-16:00:01.000.001 [b.cc:2]7 from run/\n", kind="run")
    assert plog.errors() == (
        "[ERROR] RUNTIME(7,python):[a.cc:1]7 of this one",
        "[ERROR] HCCL(7,python):[b.cc:2]7 from run/",
    )


def test_a_record_keeps_the_last_forty(tmp_path: Path) -> None:
    written(tmp_path, "".join(f"[ERROR] line {number}\n" for number in range(100)))
    assert npu_logs.Plog(str(tmp_path), 7).errors() == tuple(f"[ERROR] line {number}" for number in range(60, 100))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        # torch-npu v7.3.1, VariableFallbackKernel.cpp
        (
            "CAUTION: The operator 'aten::lgamma.out' is not currently supported on the NPU backend and will fall back "
            "to run on the CPU. This may have performance implications.",
            {"aten::lgamma.out"},
        ),
        ("The operator is not currently supported on the NPU backend", set()),
    ],
)
def test_operators_on_the_host_are_read_from_torch_npu_s_own_text(tmp_path: Path, text: str, names: set[str]) -> None:
    log = tmp_path / "worker.log"
    log.write_text("The operator 'aten::old' is not currently supported on the NPU\n" + text, encoding="utf-8")
    assert npu_logs.fallbacks(log, 62) == names


def test_a_run_keeps_no_empty_folder_and_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npu_logs, "LARGEST", 100)
    old, new = written(tmp_path / "logs" / "ascend-1", "x" * 80), written(tmp_path / "logs" / "ascend-2", "x" * 80)
    os.utime(old, (1, 1))
    (tmp_path / "ascend-1" / "kernel_meta").mkdir(parents=True)
    (tmp_path / "records").mkdir()
    npu_logs.tidy(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [new]
    assert not (tmp_path / "ascend-1").exists()
    assert not (tmp_path / "logs" / "ascend-1").exists()
    assert (tmp_path / "records").exists()
