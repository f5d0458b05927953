"""A folder of CANN's logs is read as one: each failure where it came first, the first error of each process."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from env.__main__ import main
from env.plog import earliest, logs_of


def line(level: str, process: int, time: str, text: str, module: str = "RUNTIME") -> str:
    return f"[{level}] {module}({process},python3):2026-11-23-{time} [api.cc:12]{process} Call:{text}\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Two ranks; the second one fails first, the first one's log was rotated."""
    debug = tmp_path / "debug" / "plog"
    debug.mkdir(parents=True)
    (debug / "plog-811_20261123060801.log").write_text(
        line("INFO", 811, "06:08:01.000.001", "start") + line("ERROR", 811, "06:10:05.000.002", "EI0006: no socket")
    )
    with gzip.open(debug / "plog-811_20261123060701.log.gz", "wt") as packed:
        packed.write(line("INFO", 811, "06:07:01.000.001", "init"))
    (debug / "plog-812_20261123060800.log").write_text(
        line("ERROR", 812, "06:09:59.000.001", "LoadKernel failed", "GE")
        + line("ERROR", 812, "06:10:00.000.001", "EL0008: no events")
        + line("ERROR", 812, "06:10:04.000.000", "EI0006: no socket either")
    )
    (tmp_path / "run.bin").write_bytes(b"EJ0004: this is no log\n")
    return tmp_path


def test_each_failure_is_named_where_it_came_first_in_time(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(job), "--json"]) == 0
    assert [(each["id"], each["line"], each["file"]) for each in json.loads(capsys.readouterr().out)] == [
        ("HCCL_SOCKET", 3, "debug/plog/plog-812_20261123060800.log"),
        ("EL0008", 2, "debug/plog/plog-812_20261123060800.log"),
    ]


def test_the_first_error_of_each_process_is_shown_in_the_order_of_time(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(job)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("HCCL_SOCKET (HCCL), debug/plog/plog-812_20261123060800.log, line 3\n")
    assert shown[shown.index("the first error") :].splitlines()[:4:1] == [
        "the first error of each process, 2 in all:",
        "  2026-11-23-06:09:59.000.001 python3 (812), debug/plog/plog-812_20261123060800.log, line 1",
        "    [ERROR] GE(812,python3):2026-11-23-06:09:59.000.001 [api.cc:12]812 Call:LoadKernel failed",
        "  2026-11-23-06:10:05.000.002 python3 (811), debug/plog/plog-811_20261123060801.log, line 2",
    ]


def test_a_log_without_a_known_failure_shows_the_first_error_of_its_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_text("fine\n" + line("ERROR", 7, "01:00:00.000.001", "strange") + line("ERROR", 7, "02:00:00.000", "x"))
    assert main(["doctor", str(log)]) == 3
    assert capsys.readouterr().out == (
        "no known failure in this log\n\nthe first error of each process, 1 in all:\n"
        "  2026-11-23-01:00:00.000.001 python3 (7), line 2\n"
        "    [ERROR] RUNTIME(7,python3):2026-11-23-01:00:00.000.001 [api.cc:12]7 Call:strange\n"
    )


def test_logs_are_found_at_any_depth_and_other_files_are_left(job: Path) -> None:
    assert [path.name for path in logs_of(job)] == [
        "plog-811_20261123060701.log.gz",
        "plog-811_20261123060801.log",
        "plog-812_20261123060800.log",
    ]
    assert earliest([]) == []
