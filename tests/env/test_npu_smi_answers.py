"""What of npu-smi's answers has no field of its own is kept under the name that the answer gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from env.__main__ import main
from env.npu_smi import Kind, parse

DATA = Path(__file__).resolve().parents[1] / "data" / "npu-smi"


def own(name: str) -> str:
    return (DATA / f"{name}.txt").read_text(encoding="utf-8")


def test_a_950_shows_the_use_of_the_whole_npu_and_no_chip_column() -> None:
    first, second = parse(own("950-two-cards-one-process")).chips
    assert (first.npu_pct, first.aicore_pct, first.chip, first.bus) == (47.0, None, 0, "0000:2D:00.0")
    assert (second.npu, second.ddr_total_mb) == (5, 0)


def test_heads_cut_off_a_950_reads_the_same() -> None:
    whole, cut = (parse(own(name)).chips for name in ("950-two-cards-one-process", "950-heads-cut-off"))
    assert [(chip.npu, chip.npu_pct, chip.hbm_used_mb) for chip in cut] == [
        (chip.npu, chip.npu_pct, chip.hbm_used_mb) for chip in whole
    ]


@pytest.mark.parametrize("name", ["910b-without-digit-both-memories", "910b-head-cut-short", "910b-hbm-not-shown"])
def test_memory_of_the_board_is_never_taken_for_that_of_the_chip(name: str) -> None:
    chip = parse(own(name)).chips[0]
    assert (chip.ddr_used_mb, chip.ddr_total_mb) == (1530, 13552)
    assert chip.hbm_total_mb in (32768, None)


def test_a_column_and_a_cell_that_no_version_has_are_kept_under_their_heads() -> None:
    text = "\n".join(
        (
            "| NPU   Name   | Health | Power(W)  Temp(C)  Fan(%)  Hugepages-Usage(page) | Mode  |",
            "| Chip  Slot   | Bus-Id | AICore(%)  Memory-Usage(MB)  L2(%)  HBM-Usage(MB) | Owner |",
            "| 0  910B3 | OK | 90.1  40  33  0 / 0 | turbo |",
            "| 0  7 | 0000:C1:00.0 | 7  0 / 0  12  3300 / 65536 | root |",
        )
    )
    reading = parse(text)
    (chip,) = reading.chips
    assert reading.unread == ()
    assert (chip.phy, chip.temp_c, chip.hbm_used_mb, chip.hbm_total_mb) == (None, 40.0, 3300, 65536)
    assert chip.other == {
        "Fan(%)": "33", "Hugepages-Usage(page)": "0/0", "Mode": "turbo", "Slot": "7", "L2(%)": "12", "Owner": "root"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("type-board-indented", 0, {"PCI Device ID": "0xD806", "Firmware Version": "9.0.0.101.214"}),
        ("type-usages", 0, {"HBM Usage Rate(%)": "44", "Aivector Usage Rate(%)": "5"}),
        ("type-topo", 1, {"NPU0": "HCCS", "NPU1": "X", "NPU2": "SYS", "CPU Affinity": "0-31,128-159"}),
        ("type-ecc-950", 0, {"HBM Single Bit Aggregate Total Err Cnt": "3"}),
        ("type-memory", 0, {"HBM Clock Speed(MHz)": "1500"}),
        ("type-common", 0, {"Aicore Count": "32"}),
        ("info-m-950", 1, {"Slot ID": "7"}),
        ("info-m-two-dies", 1, {"Chip Logic ID": "1"}),
        ("info-l-950", 0, {"Total Count": "1", "Product Name": "Atlas 350"}),
        ("type-product", 0, {"Product Type": "Atlas 200I A2"}),
    ],
)
def test_labels_without_a_field_are_kept(name: str, place: int, expected: dict[str, str]) -> None:
    other = parse(own(name)).chips[place].other
    assert {label: other.get(label) for label in expected} == expected


def test_figures_of_topics_fill_the_fields_of_a_chip() -> None:
    assert parse(own("type-usages-950")).chips[0].npu_pct == 13.0
    assert [chip.aicore_pct for chip in parse(own("type-usages-two-chips")).chips] == [0.0, 71.0]
    assert parse(own("type-board-of-a-card")).chips[0].bus == "0000:2B:00.0"
    assert parse(own("type-memory-950")).chips[0].ddr_total_mb == 0


def test_further_lines_of_an_error_information_belong_to_it() -> None:
    (chip,) = parse(own("type-health-several-errors")).chips
    assert chip.other["Error Information"].endswith("node type=DDRC, sensor type=ECC, event state=asserted")


@pytest.mark.parametrize("text", ["Health: good", "step: 3\nloss: 1.5", "Temperature: hot", "time   : 3\nrank   : 0"])
def test_labels_of_other_programs_are_no_answer_of_npu_smi(text: str) -> None:
    reading = parse(text)
    assert reading.kind is Kind.NEITHER
    assert reading.unread == tuple(text.splitlines())


def test_the_command_typed_above_an_answer_is_unread_and_no_more() -> None:
    reading = parse(f"$ npu-smi info -t usages -i 6\n{own('type-usages')}")
    assert (reading.kind, reading.unread) == (Kind.USAGES, ("$ npu-smi info -t usages -i 6",))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("type-power", ["npu-smi info: power, driver ?", "npu 2 chip ?: power_w: 187.2"]),
        (
            "info-m-one-chip",
            ["npu-smi info: map, driver ?", "npu 3 chip 0: name: 910B4", "npu 3 chip 0: Chip Logic ID: 1"],
        ),
    ],
)
def test_an_answer_is_printed_a_line_a_label(name: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["npu-smi", str(DATA / f"{name}.txt")]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_the_memory_of_the_board_and_the_use_of_the_npu_have_lines_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["npu-smi", str(DATA / "910b-without-digit-both-memories.txt")])
    assert "npu 3 chip 0: DDR: 1530 / 13552 MB" in capsys.readouterr().out.splitlines()
    main(["npu-smi", str(DATA / "950-two-cards-one-process.txt")])
    assert "npu 2 chip 0: NPU Util(%): 47" in capsys.readouterr().out.splitlines()
