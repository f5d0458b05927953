"""What the emulated npu-smi prints is read as the real one's is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from env import npu_smi
from env.npu_emulator import TOOLS, off_the_path
from env.npu_emulator.__main__ import environment
from env.npu_emulator.build import Emulator
from env.npu_emulator.chips import load_emulated_chips
from env.npu_emulator.npu_smi import TOPICS, answer, bus
from env.npu_smi import Kind
from env.runner import Completed, run
from verify.run.card import Npu
from verify.run.figures.card import ErrorCounts

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


@pytest.mark.parametrize("name", CHIPS)
def test_the_map_names_the_chip_of_every_device(name: str) -> None:
    dies = CHIPS[name].family.dies
    runner = Answers(name, count=4)
    assert [Npu(index, runner, {}).name for index in range(4)] == [
        f"-i {index // dies} -c {index % dies}" for index in range(4)
    ]


@pytest.mark.parametrize("name", CHIPS)
def test_a_card_is_watched_by_it(name: str) -> None:
    chip = CHIPS[name]
    npu = Npu(1, Answers(name, count=2), {})
    sample = npu.sample()
    assert (sample["busy"], sample["mhz"], sample["temp_c"]) == (0, chip.mhz, chip.temp_c)
    assert npu.errors() == ErrorCounts(single_bit=0, double_bit=0, isolated_pages=0)


class Answers:
    """The emulated npu-smi as the runner of outside commands."""

    def __init__(self, name: str, count: int) -> None:
        self._chip, self._count = CHIPS[name], count

    def __call__(self, args: Sequence[str], *, timeout: float = 10.0, environ: object = None) -> Completed:
        text = answer(args[1:], self._chip, self._count)
        assert args[0] == "npu-smi"
        assert text is not None
        return Completed(tuple(args), 0, text)


@pytest.mark.parametrize("soc", ["Ascend910B4", "Ascend310P3"])
def test_it_is_on_the_path_of_an_emulated_program_and_no_probe_takes_it_for_the_host_s(soc: str) -> None:
    emulator = Emulator(Path("/nowhere"))
    environ = environment(emulator, {"PATH": os.environ["PATH"], "NPU_EMU_SOC": soc, "NPU_EMU_COUNT": "3"})
    done = run(["npu-smi", "info"], environ=environ)
    reading = npu_smi.parse(done.stdout)
    assert [chip.name for chip in reading.chips] == [soc.removeprefix("Ascend")] * 3, done.stderr
    assert shutil.which("npu-smi", path=environ["PATH"]) == str(TOOLS / "npu-smi")
    assert shutil.which("npu-smi", path=off_the_path(environ)["PATH"]) != str(TOOLS / "npu-smi")


def test_what_is_not_emulated_is_none() -> None:
    assert answer(["info", "-t", "topo"], CHIPS["910B4"]) is None
    assert answer(["set"], CHIPS["910B4"]) is None
