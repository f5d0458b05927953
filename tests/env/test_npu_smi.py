"""What of every captured npu-smi output is read, and what is reported as unread."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from env.__main__ import main
from env.errors import InputError
from env.npu_smi import Chip, Process, parse
from env.npu_smi_command import read_capture
from tests.env.npu_smi_captures import EXPECTED, FAILURE, NEITHER, TABLE

DATA = Path(__file__).resolve().parents[1] / "data" / "npu-smi"
HEADERS = (DATA / "310p-preload-noise.txt").read_text().splitlines()[1:7]


HUGEPAGES = {"Hugepages-Usage(page)": "0/0"}


def own(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def test_every_output_has_an_expectation() -> None:
    assert {path.stem for path in DATA.glob("*.txt")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_output_is_read_as_expected(name: str) -> None:
    kind, tool, driver, chips, processes, error_words, unread = EXPECTED[name]
    reading = parse(own(f"{name}.txt"))
    assert reading.kind is kind
    assert (reading.tool_version, reading.driver_version) == (tool, driver)
    assert {
        (chip.npu, chip.chip): (
            chip.phy,
            chip.name,
            chip.health,
            chip.power_w,
            chip.temp_c,
            chip.hbm_used_mb,
            chip.hbm_total_mb,
        )
        for chip in reading.chips
    } == chips
    assert [(row.npu, row.chip, row.pid, row.name, row.memory_mb) for row in reading.processes] == processes
    assert (reading.error is not None) == bool(error_words)
    assert all(word in (reading.error or "") for word in error_words)
    assert len(reading.unread) == unread


def test_chip_name_with_a_dash_used_without_a_space_and_health_words_are_read() -> None:
    reading = parse(own("910b4-four-cards-two-processes.txt"))
    assert reading.kind is TABLE
    assert reading.unread == ()
    assert reading.chips[0] == Chip(
        0, 0, None, "910B4-1", "OK", 91.4, 41.0, "0000:C1:00.0", 37.0, 28417, 65536, 0, 0, other=HUGEPAGES
    )
    assert [chip.health for chip in reading.chips] == ["OK", "Warning", "Alarm", "UNKNOWN"]
    assert replace(reading.chips[3], other={}) == Chip(
        3, 0, None, "910B4-1", "UNKNOWN", None, None, None, None, None, None
    )


@pytest.mark.parametrize(
    ("name", "buses"),
    [
        ("310b-no-bus", [None]),
        ("910b4-bus-masked", ["xxxx:xx:xx.x"]),
        ("910b4-bus-masked-in-part", ["0000:xx:00.0", "0000:xx:00.0"]),
        ("310p-duo-build-in-version", ["0000:05:00.0", "0000:05:00.0"]),
    ],
)
def test_bus_is_kept_as_printed(name: str, buses: list[str | None]) -> None:
    assert [chip.bus for chip in parse(own(f"{name}.txt")).chips] == buses


def test_process_names_may_be_blank_or_hold_a_bar() -> None:
    reading = parse(own("910b4-four-cards-two-processes.txt"))
    assert reading.processes == (Process(0, 0, 81234, "python3 a|b", 25480), Process(0, 0, 81240, None, 120))


def test_two_dies_of_a_card_keep_their_physical_ids_and_the_container_pid_is_not_the_pid() -> None:
    reading = parse(own("a3-one-card-wide.txt"))
    assert [(chip.npu, chip.chip, chip.phy, chip.power_w) for chip in reading.chips] == [
        (3, 0, 6, 171.5),
        (3, 1, 7, None),
    ]
    assert reading.processes == (Process(3, 0, 990011, "python", 6105),)


def test_text_before_the_table_is_unread_and_a_310_board_reports_its_memory() -> None:
    reading = parse(own("310p-preload-noise.txt"))
    (chip,) = reading.chips
    assert replace(chip, other={}) == Chip(1024, 0, None, "310P3", "OK", None, 51.0, None, 3.0, 20011, 21527)
    assert reading.unread == ("[vnpu 31:0x7f2a:limiter.cc:48] device memory limit is not set",)


ROWS_910 = ("| 0 910B3 | OK | 90.1 40 0 / 0 |", "| 0 | 0000:C1:00.0 | 7 0 / 0 3300/65536 |")
CHIP_910 = Chip(0, 0, None, "910B3", "OK", 90.1, 40.0, "0000:C1:00.0", 7.0, 3300, 65536, 0, 0)


@pytest.mark.parametrize(
    ("text", "chips", "unread"),
    [
        pytest.param("\n".join(ROWS_910), (CHIP_910,), 0, id="no banner, no header"),
        pytest.param("\r\n".join(("", *ROWS_910, "")), (CHIP_910,), 0, id="windows line ends"),
        pytest.param("\x1b[1;32m" + "\x1b[0m\n".join(ROWS_910), (CHIP_910,), 0, id="colours"),
        pytest.param("\n".join(f" \t{row} " for row in ROWS_910), (CHIP_910,), 0, id="indented"),
        pytest.param("\n".join((*ROWS_910, *ROWS_910)), (CHIP_910,), 2, id="the same table again"),
        pytest.param(ROWS_910[0], (), 1, id="second row missing"),
        pytest.param(ROWS_910[1], (), 1, id="first row missing"),
        pytest.param("\n".join((ROWS_910[0], "...", ROWS_910[1])), (), 3, id="rows of two chips are not joined"),
        pytest.param(
            "\n".join((ROWS_910[0], "log line between", ROWS_910[1])), (CHIP_910,), 1, id="a log line between the rows"
        ),
        pytest.param(
            "\n".join((ROWS_910[0], ROWS_910[1][:-5])),
            (
                replace(
                    CHIP_910, aicore_pct=None, hbm_used_mb=None, hbm_total_mb=None, ddr_used_mb=None, ddr_total_mb=None
                ),
            ),
            1,
            id="a cut row's last cell is not believed",
        ),
        pytest.param(
            "\n".join((ROWS_910[0].replace("90.1", "9o.1"), ROWS_910[1])),
            (replace(CHIP_910, power_w=None),),
            1,
            id="a figure that is no number",
        ),
        pytest.param(
            "\n".join((ROWS_910[0].replace("90.1", "9" * 5000), ROWS_910[1])), (), 2, id="a row no tool would print"
        ),
        pytest.param(
            "\n".join((ROWS_910[0].replace("910B3", ""), ROWS_910[1].replace("3300/65536", "N/A / N/A"))),
            (replace(CHIP_910, name=None, hbm_used_mb=None, hbm_total_mb=None),),
            0,
            id="blank name, N/A memory",
        ),
        pytest.param("\n".join(HEADERS), (), 0, id="headers alone"),
    ],
)
def test_unusual_tables(text: str, chips: tuple[Chip, ...], unread: int) -> None:
    reading = parse(text)
    assert reading.chips == chips
    assert len(reading.unread) == unread
    assert reading.kind is (TABLE if chips or not unread else NEITHER)


def test_failure_beside_a_table_keeps_both() -> None:
    reading = parse("\n".join(("[WARNING]The driver package may not be completely installed", *ROWS_910)))
    assert reading.kind is TABLE
    assert reading.chips == (CHIP_910,)
    assert reading.error == "[WARNING]The driver package may not be completely installed"


@pytest.mark.parametrize(
    "text",
    [
        "dcmi module initialize failed. ret is -8020",
        "[WARNING]The driver package may not be completely installed",
        "This device does not support querying product.",
        "Failed to open the device, because the device is used by another container. ret is -8020",
        "npu-smi: error while loading shared libraries: libc_sec.so: cannot open shared object file",
        "sh: 1: npu-smi: not found",
        "npu-smi: no answer in 10 s",
        "bash: /usr/local/bin/npu-smi: Permission denied",
    ],
)
def test_failure_messages_are_failures(text: str) -> None:
    reading = parse(text)
    assert (reading.kind, reading.error) == (FAILURE, text)


@pytest.mark.parametrize("text", ["", "\n\n", "ImportError: libhccl.so: cannot open shared object file", "hello"])
def test_text_that_is_neither_says_so(text: str) -> None:
    reading = parse(text)
    assert reading.kind is NEITHER
    assert reading.error is None
    assert reading.unread == ((text,) if text.strip() else ())


def test_unread_lines_are_shortened_but_counted() -> None:
    reading = parse("\n".join(["x" * 5000] * 1000))
    assert len(reading.unread) == 201
    assert max(map(len, reading.unread)) == 203
    assert reading.unread[-1] == "... and 800 more lines"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (own("a3-one-card-wide.txt"), 0),
        (own("type-board-indented.txt"), 0),
        ("sh: 1: npu-smi: not found", 3),
        ("hello", 4),
    ],
)
def test_exit_code_says_what_was_read(text: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "captured.txt"
    file.write_text(text, encoding="utf-8")
    assert main(["npu-smi", str(file)]) == code
    assert capsys.readouterr().out
    assert main(["npu-smi", str(file), "--json"]) == code
    assert json.loads(capsys.readouterr().out) == parse(text).as_dict()


def test_json_interface_is_exact() -> None:
    assert json.loads(json.dumps(parse(own("a3-one-card-wide.txt")).as_dict())) == {
        "kind": "table",
        "tool_version": "26.0.rc1",
        "driver_version": "26.0.rc1",
        "chips": [
            {
                "npu": 3,
                "chip": die,
                "phy": 6 + die,
                "name": "Ascend910",
                "health": "OK",
                "power_w": power,
                "temp_c": 35.0 + die,
                "bus": bus,
                "aicore_pct": aicore,
                "hbm_used_mb": used,
                "hbm_total_mb": 65536,
                "ddr_used_mb": 0,
                "ddr_total_mb": 0,
                "npu_pct": None,
                "other": HUGEPAGES,
            }
            for die, power, bus, aicore, used in [
                (0, 171.5, "0000:91:00.0", 12.0, 9120),
                (1, None, "0000:93:00.0", 0.0, 3011),
            ]
        ],
        "processes": [{"npu": 3, "chip": 0, "pid": 990011, "name": "python", "memory_mb": 6105}],
        "error": None,
        "unread": [],
    }


def test_powershell_redirect_and_broken_bytes_are_decoded(tmp_path: Path) -> None:
    file = tmp_path / "captured.txt"
    file.write_bytes("\n".join(ROWS_910).encode("utf-16"))
    assert parse(read_capture(str(file))).chips == (CHIP_910,)
    file.write_bytes(b"\xff\x00\xfe" + "\n".join(("", *ROWS_910)).encode())
    assert parse(read_capture(str(file))).chips == (CHIP_910,)


def test_missing_file_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.txt"):
        read_capture(str(tmp_path / "absent.txt"))
