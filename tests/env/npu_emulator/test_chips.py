"""The chips that the emulated NPU can be: each of a known family, each trait with a source."""

from __future__ import annotations

import pytest

from env.chips import chip_of_soc
from env.npu_emulator.chips import chip_like, load_emulated_chips

CHIPS = load_emulated_chips()


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_is_of_a_known_family_and_says_where_its_traits_come_from(name: str) -> None:
    chip = CHIPS[name]
    assert chip_of_soc(chip.soc) is not None
    assert chip.source
    assert chip.idle_mb < chip.memory_mb


@pytest.mark.parametrize(
    ("name", "bfloat16", "products", "saturates", "hf32"),
    [
        ("910B4", "1", "float32", "0", "1"),
        ("A3", "1", "float32", "0", "1"),
        ("310P", "0", "float16", "1", "0"),
        ("910A", "0", "float16", "1", "0"),
    ],
)
def test_a_process_is_told_what_its_chip_computes(
    name: str, bfloat16: str, products: str, saturates: str, hf32: str
) -> None:
    variables = CHIPS[name].variables
    told = [variables[f"NPU_EMU_{key}"] for key in ("BFLOAT16", "PRODUCTS", "SATURATES", "HF32")]
    assert told == [bfloat16, products, saturates, hf32]


@pytest.mark.parametrize(
    ("soc", "name"),
    [("Ascend310P1", "310P"), ("Ascend910B2C", "910B4"), ("Ascend910B", "910A"), ("Ascend910_9391", "A3")],
)
def test_another_chip_of_a_family_computes_as_its_sibling(soc: str, name: str) -> None:
    chip = chip_like(soc)
    assert chip is not None
    assert chip.name == name


def test_a_family_that_none_stands_for_is_none() -> None:
    assert chip_like("Ascend950PR_9589") is None
    assert chip_like("H100") is None
