"""The table of chips: what it tells apart, that every row has its sources, and that no fixture invents an id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from env.chips import CHIPS, chip_named, find_chip, load_chips
from env.toml import load_toml
from tests.env import machines

DATA = Path(__file__).resolve().parents[1] / "data"
ACCELERATOR = "0x1200"
KINDS = {kind.name: kind for kind in load_chips()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("910B1", "910B"), ("910B2C", "910B"), ("910B4-1", "910B"), ("Ascend910B3", "910B"),
        ("Ascend910", "Ascend910"), ("910C", "Ascend910"), ("Ascend910_9391", "Ascend910"),
        ("910A", "910"), ("910ProB", "910"), ("910PremiumA", "910"),
        ("310P3", "310P"), ("310B4", "310B"), ("310", "310"), ("Ascend950PR", "950"), ("950DT", "950"),
        ("Ascend970", None), ("xxx", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_name_tells_the_family(name: str | None, kind: str | None) -> None:
    kind_of_name = chip_named(name)
    assert (kind_of_name.name if kind_of_name else None) == kind


@pytest.mark.parametrize(
    ("pci", "board_memory", "kind"),
    [
        (None, True, "910"),
        (None, False, "910B"),
        (None, None, "910B"),
        ("0xd801", None, "910"),
        ("0xd802", True, "910B"),
    ],
)
def test_a_910b_without_a_digit_is_told_by_the_bus_or_by_the_memory_of_its_board(
    pci: str | None, board_memory: bool | None, kind: str
) -> None:
    chip = find_chip(load_chips(), "910B", pci, board_memory)
    assert chip is not None
    assert chip.name == kind


def test_a_chip_of_an_unknown_id_is_told_by_its_name_and_else_unknown() -> None:
    assert find_chip(load_chips(), "910B4", "0xffff") is KINDS["910B"]
    assert find_chip(load_chips(), None, "0xffff") is None


@pytest.mark.parametrize(
    ("name", "bfloat16", "float32", "memory", "dies", "nodes"),
    [
        ("910B", True, "float32", "HBM", 1, {"/dev/devmm_svm", "/dev/hisi_hdc"}),
        ("Ascend910", True, "float32", "HBM", 2, {"/dev/devmm_svm", "/dev/hisi_hdc"}),
        ("910", False, "float16", "HBM", 1, {"/dev/devmm_svm", "/dev/hisi_hdc"}),
        ("310P", False, "float16", "DDR", 1, {"/dev/devmm_svm", "/dev/hisi_hdc"}),
        ("310B", True, None, "DDR", 1, set()),
        ("950", True, None, "HBM", 1, {"/dev/hisi_hdc"}),
    ],
)
def test_what_a_family_can_and_needs(
    name: str, bfloat16: bool, float32: str | None, memory: str, dies: int, nodes: set[str]
) -> None:
    kind = KINDS[name]
    assert (kind.bfloat16, kind.float32, kind.memory, kind.dies) == (bfloat16, float32, memory, dies)
    assert set(kind.nodes) == nodes
    assert not set(kind.nodes) & set(kind.nodes_optional)


@pytest.mark.parametrize(
    ("name", "torch_npu", "served"),
    [
        ("910B", "2.9.0.post1", True),
        ("950", "2.9.0", False),
        ("950", "2.9.0.post1", False),
        ("950", "2.9.0.post2", True),
        ("950", "2.9.0.post9", True),
        ("950", "2.12.0.post2", True),
        ("950", "2.6.0", None),  # nobody says
        ("310", "2.9.0.post1", None),
    ],
)
def test_which_torch_npu_knows_a_family(name: str, torch_npu: str, served: bool | None) -> None:
    assert KINDS[name].served_by(torch_npu) is served


def test_every_row_has_sources_and_every_source_is_used() -> None:
    table = load_toml(CHIPS)
    cited = {source for row in table["chip"] for source in row["sources"]}
    assert cited == set(table["sources"])
    assert all(row["sources"] for row in table["chip"])
    ids = [kind.pci for kind in load_chips()]
    assert len(set(ids)) == len(ids)
    assert all(kind.memory in ("HBM", "DDR") and kind.bfloat16 is not None for kind in load_chips())


def sourced() -> set[str | None]:
    return {kind.pci for kind in load_chips()}


@pytest.mark.parametrize("name", machines.names())
def test_no_machine_has_an_accelerator_whose_id_has_no_source(name: str) -> None:
    devices: dict[str, Any] = machines.describe(name).get("pci", {})
    ids = {kind["device"] for kind in devices.values() if kind["class"].startswith(ACCELERATOR)}
    assert ids <= sourced()


def test_no_capture_has_an_accelerator_whose_id_has_no_source() -> None:
    ids: dict[str, str] = {}
    for path in DATA.rglob("*.txt"):
        text = path.read_text(encoding="utf-8", errors="replace").lower()
        ids |= {f"0x{each}": path.name for each in re.findall(r"pci device id\s*:\s*0x([0-9a-f]{4})", text)}
        ids |= {
            f"0x{each}": path.name
            for each in re.findall(r"processing accelerators: huawei .{0,40} device ([0-9a-f]{4})", text)
        }
    assert {each: name for each, name in ids.items() if each not in sourced()} == {}
    assert len(ids) > 2
