"""Finding known failures in logs of any size and shape: place, order, cost, and what people and programs are told."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from env.__main__ import main
from env.doctor import describe, diagnose, scan
from env.errors import InputError
from env.failures import load_failures
from env.log_search import BLOCK, REACH, any_of
from tests.env.chinese import read_by_chinese

HCCL = "ImportError: libhccl.so: cannot open shared object file: No such file or directory"
AUTOLOAD = "RuntimeError: Failed to load the backend extension: torch_npu. You can disable it."
VLLM = "INFO 03-04 11:22:33 [scheduler.py:{0}] Running: 12 reqs, Waiting: 0 reqs, throughput: 118.3 tokens/s, step {0}"
PLOG = (
    "[INFO] RUNTIME({0},python3.10):2026-03-04-11:22:33.507.018 [stream.cc:512]{0} TaskReclaim: [LAUNCH] "
    "stream_id=12, task_id={0}, addr=0x7f2d3d854e06, ret success"
)


def ids(log: str) -> list[str]:
    return [diagnosis.failure.id for diagnosis in diagnose(log)]


class Repeated:
    """A log of `megabytes` made of one text again and again, then `last`; never in memory as a whole."""

    def __init__(self, text: str, megabytes: int, last: str = "") -> None:
        self.block = (text * (BLOCK // len(text) + 1)).encode()[: BLOCK - 1] + b"\n"
        self.blocks: Iterator[bytes] = iter([*([self.block] * megabytes), last.encode()])

    def read(self, size: int, /) -> bytes:
        assert size == BLOCK
        return next(self.blocks, b"")


def ordinary(template: str) -> str:
    return "".join(f"{template.format(number)}\n" for number in range(500_000, 507_100, 7))


def test_composite_log_gives_causes_first_with_the_line_of_each() -> None:
    log = f"Traceback\n{AUTOLOAD}\nRuntimeError: Failed to infer device type\n{HCCL}\n"
    assert [(diagnosis.failure.id, diagnosis.line) for diagnosis in diagnose(log)] == [
        ("LIB_HCCL", 4),
        ("BACKEND_AUTOLOAD", 2),
        ("VLLM_INFER_DEVICE", 3),
    ]


def test_first_of_many_lines_is_named() -> None:
    [diagnosis] = diagnose("fine\n" * 6 + f"{HCCL} one\n{HCCL} two\n" * 50)
    assert (diagnosis.line, diagnosis.text) == (7, f"{HCCL} one")


def test_first_of_two_looks_is_named_even_where_the_other_is_searched_earlier() -> None:
    for log in ("EL0004: full\nNPU out of memory\n", "NPU out of memory\nEL0004: full\n"):
        [diagnosis] = diagnose(log)
        assert (diagnosis.failure.id, diagnosis.line) == ("OOM", 1)


@pytest.mark.parametrize("offset", [-200, -80, -40, -1, 0, 1, 40, 200])
@pytest.mark.parametrize("edge", [BLOCK - REACH, BLOCK, 2 * BLOCK - REACH])
def test_line_across_a_block_edge_is_found_with_its_number(edge: int, offset: int) -> None:
    line = b"0123456789 abcdef\n"
    before = (line * (edge // len(line) + 50))[: edge + offset]
    stream = io.BytesIO(before + b"\n" + HCCL.encode() + b"\nafter\n" + line * 1000)
    [diagnosis] = scan(stream)
    assert diagnosis.failure.id == "LIB_HCCL"
    assert diagnosis.line == before.count(b"\n") + 2
    assert diagnosis.text == HCCL


def test_stream_that_gives_little_at_a_time_is_read_whole() -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 7))

    text = f"{AUTOLOAD}\n" + "fine\n" * 2000 + f"{HCCL}\n"
    assert [(each.failure.id, each.line) for each in scan(Dripping(text.encode()))] == [
        ("LIB_HCCL", 2002),
        ("BACKEND_AUTOLOAD", 1),
    ]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("all is well\n", [], id="nothing known"),
        pytest.param(f"{HCCL}\r\n{AUTOLOAD}\r\n", ["LIB_HCCL", "BACKEND_AUTOLOAD"], id="windows line ends"),
        pytest.param("CANN:\r\n", ["COLLECT_EMPTY_CANN"], id="end of line before a carriage return"),
        pytest.param("\x1b[31mNPU error, \x1b[1merror code is \x1b[32m507018\x1b[0m", ["AICPU_507018"], id="colours"),
        pytest.param("\0\0\x01" + HCCL + "\0\ufffd", ["LIB_HCCL"], id="binary junk around"),
        pytest.param("x" * 100_000 + " " + HCCL + " " + "y" * 100_000, ["LIB_HCCL"], id="one long line"),
        pytest.param("x" * (3 * BLOCK) + " " + HCCL + " " + "y" * BLOCK, ["LIB_HCCL"], id="a line of several blocks"),
        pytest.param("x" * 9000 + "CANN:" + "y" * 9000, [], id="a cut line has no beginning and no end"),
        pytest.param("CANN:" + "y" * 9000, [], id="a cut line has no end"),
        pytest.param("调用失败，返回码：507033", ["SETDEV_507033"], id="chinese words of failure"),
        pytest.param("错误码 507018", ["AICPU_507018"], id="chinese error code"),
    ],
)
def test_log_of_any_shape(log: str, expected: list[str]) -> None:
    assert ids(log) == expected


def test_lines_are_taken_as_a_log() -> None:
    assert [(each.failure.id, each.line) for each in diagnose(("fine\n", "fine", f"{HCCL}\n"))] == [("LIB_HCCL", 3)]


def test_shown_line_is_short_and_printable() -> None:
    [diagnosis] = diagnose(f"\x07\x1b[31m{HCCL}\x1b[0m" + "z" * 1000)
    assert diagnosis.text.startswith("ImportError: libhccl.so")
    assert len(diagnosis.text) == 203
    assert diagnosis.text.isprintable()


@pytest.mark.parametrize("before", ["", "fine\n"])
def test_of_a_long_line_what_matters_is_shown(before: str) -> None:
    message = "failed to mount src: /usr/local/bin/npu-smi."
    [diagnosis] = diagnose(before + "docker: " + "runc create failed: " * 30 + message + "z" * 300)
    assert diagnosis.text.startswith("docker: runc create failed: ")
    assert message in diagnosis.text
    assert len(diagnosis.text) <= 203


def test_tree_finds_each_literal_with_its_rest() -> None:
    expression = any_of({"ret is -8": [r"\d{3}", "x"], "ret is -8005": [""], "is.": ["$"]})
    assert expression == r"(?:is\.$|ret\ is\ \-8(?:005|\d{3}|x))"


def test_description_tells_cause_confirmation_fix_and_source() -> None:
    [diagnosis] = diagnose(f"{HCCL}\n")
    failure = next(failure for failure in load_failures() if failure.id == "LIB_HCCL")
    assert describe(diagnosis) == (
        "LIB_HCCL (CANN env), line 1\n"
        f"  seen:    {HCCL}\n"
        f"  cause:   {failure.cause}\n"
        f"  confirm: {failure.confirm}\n"
        f"  fix:     {failure.fix}\n"
        f"  source:  {failure.source}"
    )


def test_a_cause_known_by_loose_wording_is_only_likely() -> None:
    [diagnosis] = diagnose("Killed")
    assert "\n  likely:  " in describe(diagnosis)


@pytest.mark.parametrize("packed", ["plain", "gzip", "utf-16"])
def test_program_reads_files_and_prints_json(packed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"fine\n{HCCL}\n"
    data = {"plain": text.encode(), "gzip": gzip.compress(text.encode()), "utf-16": text.encode("utf-16")}[packed]
    file = tmp_path / "log"
    file.write_bytes(data)
    assert main(["doctor", str(file), "--json"]) == 0
    failure = next(failure for failure in load_failures() if failure.id == "LIB_HCCL")
    assert json.loads(capsys.readouterr().out) == [
        {"id": "LIB_HCCL", "line": 2, "cause": failure.cause, "fix": failure.fix}
    ]


def test_program_reads_standard_input_and_says_when_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def standard_input(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode()))))

    standard_input("all is well\n")
    assert main(["doctor", "-", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == []
    standard_input("all is well\n")
    assert main(["doctor", "-"]) == 3
    assert capsys.readouterr().out == "no known failure in this log\n"
    standard_input(f"{HCCL}\n")
    assert main(["doctor", "-"]) == 0
    assert capsys.readouterr().out.startswith("LIB_HCCL (CANN env), line 1\n")


def test_a_chinese_reader_gets_the_diagnosis_in_chinese(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = next(failure for failure in load_failures() if failure.id == "LIB_HCCL")
    above, below = "{failure} ({component}), {place}\n  seen:    {text}", "confirm: {confirm}\n  fix:     {fix}"
    catalogue = {
        above: "{failure}（{component}），{place}\n  现象：{text}",
        "line {line}": "第 {line} 行",
        "{above}\n  cause:   {cause}\n  " + below + "\n  source:  {source}": "{above}\n  原因：{cause}\n  修复：{fix}",
        str(failure.cause): "环境变量没有设置。",
        str(failure.fix): "source set_env.sh。",
        "no known failure in this log": "没有已知故障",
    }
    read_by_chinese(monkeypatch, catalogue)
    log = tmp_path / "log"
    log.write_text(f"{HCCL}\n")
    assert main(["doctor", str(log)]) == 0
    assert capsys.readouterr().out == (
        f"LIB_HCCL（CANN env），第 1 行\n  现象：{HCCL}\n  原因：环境变量没有设置。\n  修复：source set_env.sh。\n"
    )
    assert main(["doctor", str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["cause"] == failure.cause
    log.write_text("all is well\n")
    assert main(["doctor", str(log)]) == 3
    assert capsys.readouterr().out == "没有已知故障\n"


def test_unreadable_logs_are_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        main(["doctor", str(tmp_path / "absent.log")])
    with pytest.raises(InputError, match="no log in"):
        main(["doctor", str(tmp_path)])
    damaged = tmp_path / "log.gz"
    damaged.write_bytes(gzip.compress(HCCL.encode() * 100)[:-20])
    with pytest.raises(InputError, match="cannot unpack"):
        main(["doctor", str(damaged)])


def test_memory_does_not_grow_with_the_log() -> None:
    scan(Repeated(ordinary(PLOG), 1))  # the catalogue and its expressions stay
    tracemalloc.start()
    scan(Repeated(ordinary(PLOG), 24, HCCL))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * BLOCK


@pytest.mark.parametrize("failure", load_failures(), ids=lambda failure: failure.id)
def test_hostile_lines_do_not_stall_an_expression(failure) -> None:  # type: ignore[no-untyped-def]
    """Every literal of the row, again and again on one long line: nearly a match at each place."""
    for sign in failure.signs:
        literal = sign.literal.encode()
        for text in (literal, literal + b" ", b"err " + literal, b"(" + literal * 3):
            line = (text * (2 * REACH // len(text)))[: 2 * REACH]
            started = time.process_time()
            sign.pattern.search(line)
            assert time.process_time() - started < 0.2, sign.expression


@pytest.mark.parametrize("template", [VLLM, PLOG], ids=["vllm", "plog"])
def test_a_failure_at_the_end_of_a_long_log_is_found_on_its_line(template: str) -> None:
    log = Repeated(ordinary(template), 20, HCCL)
    [diagnosis] = scan(log)
    assert diagnosis.failure.id == "LIB_HCCL"
    assert diagnosis.line == 20 * log.block.count(b"\n") + 1


def test_a_log_of_nothing_but_failures_names_each_once_where_it_came_first() -> None:
    """Each line is nearly a match of other rows, which are looked for to the end."""
    lines = ("ret is -8005", "No module named 'tbe'", HCCL, AUTOLOAD, "rtSetDevice failed, error code is 507033")
    log = Repeated("".join(f"{line}\n" for line in lines), 20)
    assert [each.line for each in scan(log)] == [1, 3, 2, 5, 4]
