"""What an NPU's runtime leaves beside what a worker prints: the plog, and the operators that ran on the host instead.

CANN says the cause of an error in its plog only (PaddlePaddle/PaddleCustomDevice#1214: the missing Python module is
named there and nowhere else), in files debug/plog/plog-<pid>_<time>.log and run/plog/... (hicann/runtime,
docs/zh/log_ref/viewing_logs_ep.md).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from env.redaction import without_home

LINES = 40  # kept in a record
LARGEST = 20 * 1024 * 1024  # bytes of CANN's logs that a run keeps
PLOG = "ASCEND_PROCESS_LOG_PATH"  # plog_file_mgr.c; level and content stay as they are set
WORK = "ASCEND_WORK_PATH"  # kernel_meta, fusion_result.json, extra-info
# They hide the text that tells of an operator on the host (torch-npu, OptionsManager.cpp, ShouldPrintWarning; c10).
MUTING = ("TORCH_NPU_DISABLED_WARNING", "TORCH_CPP_LOG_LEVEL")
FOLDERS = ("debug/plog", "run/plog")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d\.\d{3}\.\d{3} ?")
# torch-npu says it once for each operator and process (VariableFallbackKernel.cpp, npu_cpu_fallback).
_FALLBACK = re.compile(r"The operator '([^']{1,100})' is not currently supported on the NPU")
# What a check may have met and judged as numbers, though the runtime behind it has failed.
_FAILED = re.compile(r"error code is \d+|ERR\d{5}|\b507\d{3}\b")


def environment(environ: Mapping[str, str], run_folder: Path, number: int) -> dict[str, str]:
    """The environment of worker `number`: CANN's logs and droppings go into the run's folder, unless set elsewhere."""
    kept = {name: value for name, value in environ.items() if name not in MUTING}
    return {
        PLOG: str(run_folder / "logs" / f"ascend-{number}"),
        WORK: str(run_folder / f"ascend-{number}"),
        **kept,
    }


class Plog:
    """The errors that CANN writes for one process."""

    def __init__(self, folder: str, pid: int) -> None:
        self._folder = Path(folder)
        self._pid = pid
        self._read: dict[Path, int] = {}  # how far each file was read

    def skip(self) -> None:
        """What stands there now is of earlier checks."""
        for path in self._files():
            self._read[path] = path.stat().st_size

    def errors(self) -> tuple[str, ...]:
        """The lines with an error since then, each once and without its moment, the last of them."""
        lines: dict[str, None] = {}
        for path in self._files():
            for line in _new_lines(path, self._read.get(path, 0)):
                if "[ERROR]" in line:
                    lines[without_home(_MOMENT.sub("", line).strip())] = None
        return tuple(lines)[-LINES:]

    def _files(self) -> Iterator[Path]:
        for folder in FOLDERS:
            yield from sorted((self._folder / folder).glob(f"plog-{self._pid}_*.log"))


def _new_lines(path: Path, offset: int) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(offset, path.stat().st_size - (1 << 20)))
        return file.read().decode("utf-8", "replace").splitlines()


def fallbacks(log: Path, offset: int) -> set[str]:
    """The operators that a worker's log, from byte `offset` on, says to have run on the host."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return set(_FALLBACK.findall(file.read().decode("utf-8", "replace")))
    except FileNotFoundError:  # the run was removed meanwhile, which its engine tells
        return set()


def shows_an_error(lines: tuple[str, ...]) -> bool:
    """Whether a log tells of an error of the runtime, whatever became of the check."""
    return any(_FAILED.search(line) for line in lines)


def tidy(run_folder: Path) -> None:
    """Remove the folders in which CANN left nothing, and its oldest logs beyond what a run keeps."""
    folders = [*run_folder.glob("ascend-*"), *(run_folder / "logs").glob("ascend-*")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    held = 0
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        held += path.stat().st_size
        if held > LARGEST:
            path.unlink(missing_ok=True)
    for folder in folders:
        for path in sorted([*folder.rglob("*"), folder], key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):  # it holds something
                path.rmdir()
