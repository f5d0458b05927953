"""CANN's own logs (plog): the first error of each process, and the files of a folder of them.

A line is `[LEVEL] MODULE(PID,NAME):YYYY-MM-DD-HH:MM:SS.mmm.uuu [file:line]...`; each process writes files of its own
under ~/ascend/log/{debug,run}/plog and device-N, and starts a new one when the last is full.
Source: hiascend.com, CANN log reference; hicann/runtime src/dfx/log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from env.log_search import hit_at

_ERROR = re.compile(rb"\[ERROR\] ([A-Z_0-9]{1,30})\((\d{1,10}),([^()\n]{0,64})\):(\d{4}-\d\d-\d\d-[\d:.]{8,16})")
_TIME = re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d[\d.]{0,8}")
_LOGS = (".log", ".txt", ".out", ".err", ".gz", ".old", "")
MOST_FILES = 5000  # of a folder; a job of a thousand ranks leaves fewer


@dataclass(frozen=True)
class FirstError:
    """The first line of level ERROR of a process."""

    process: int
    name: str
    module: str
    time: str
    line: int
    text: str
    file: str = ""


class ErrorScanner:
    """Finds the first error of each process of a log, block by block (env/log_search.py drives it)."""

    def __init__(self) -> None:
        self.first: dict[int, FirstError] = {}

    def examine(self, buffer: bytes, begin: int, end: int, lines: int) -> None:
        for match in _ERROR.finditer(buffer, begin, end + 160):
            process, time = int(match[2]), match[4].decode()
            known = self.first.get(process)
            if match.start() < end and (known is None or time < known.time):
                hit = hit_at(buffer, match.start(), lines)
                name, module = match[3].decode("utf-8", "replace"), match[1].decode()
                self.first[process] = FirstError(process, name, module, time, hit.line, hit.text)


def earliest(errors: Iterable[FirstError]) -> list[FirstError]:
    """One for each process, in the order of their times."""
    first: dict[int, FirstError] = {}
    for error in errors:
        if error.process not in first or error.time < first[error.process].time:
            first[error.process] = error
    return sorted(first.values(), key=lambda error: (error.time, error.process))


def in_file(error: FirstError, file: str) -> FirstError:
    return replace(error, file=file)


def time_of(text: str) -> str:
    """The time that a line of a plog bears; the end of all times where it bears none."""
    match = _TIME.search(text)
    return match[0] if match else "9999"


def logs_of(folder: Path) -> list[Path]:
    """The logs of a folder and of those in it, by name: within a process that is their order in time."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in _LOGS and path.is_file())
    return sorted(files)[:MOST_FILES]
