"""What the emulated npu-smi prints is read as the real one's is."""

from __future__ import annotations

import pytest

from env import npu_smi
from env.npu_emulator.chips import load_emulated_chips
from env.npu_emulator.npu_smi import TOPICS, answer, bus
from env.npu_smi import Kind

CHIPS = load_emulated_chips()


@pytest.mark.parametrize("name", CHIPS)
def test_the_table_is_read_whole(name: str) -> None:
    chip = CHIPS[name]
    text = answer(["info"], chip, 4)
    assert text is not None
    reading = npu_smi.parse(text)
    assert (reading.kind, reading.unread, reading.driver_version) == (Kind.TABLE, (), "25.2.1")
    assert [each.bus for each in reading.chips] == [bus(chip, device) for device in range(4)]
    assert {(each.name, each.health, each.temp_c) for each in reading.chips} == {(chip.npu_smi, "OK", chip.temp_c)}
    assert {(each.hbm_used_mb, each.hbm_total_mb) for each in reading.chips} == {(chip.idle_mb, chip.memory_mb)}
    assert [each.npu for each in reading.chips] == ([0, 0, 1, 1] if name == "A3" else [0, 1, 2, 3])
    assert len({len(line) for line in text.splitlines()}) == 1


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("name", CHIPS)
def test_every_topic_is_read_as_what_it_is(name: str, topic: str) -> None:
    text = answer(["info", "-t", topic, "-i", "1"], CHIPS[name])
    assert text is not None
    reading = npu_smi.parse(text)
    kinds = {"common": Kind.COMMON, "temp": Kind.TEMPERATURE, "power": Kind.POWER, "usages": Kind.USAGES,
             "ecc": Kind.ECC, "memory": Kind.MEMORY}  # fmt: skip
    assert (reading.kind, reading.unread) == (kinds[topic], ())
    assert {each.npu for each in reading.chips} == {1}


def test_what_is_not_emulated_is_none() -> None:
    assert answer(["info", "-t", "topo"], CHIPS["910B4"]) is None
    assert answer(["set"], CHIPS["910B4"]) is None
