"""The smaller outputs of npu-smi: lists, maps and the topics of `info -t`."""

from __future__ import annotations

from env.npu_smi import Process
from env.npu_smi_queries import MappedChip, card_ids, chip_map, fields, process_memory

LIST = """\
Total Count                    : 2

NPU ID                         : 1
Chip Count                     : 1

NPU ID                         : 5
Chip Count                     : 1
"""
MAP = """\
NPU ID                         Chip ID                        Chip Logic ID                  Chip Name
2                              0                              4                              Ascend 910B4
2                              1                              -                              Mcu
"""
HEALTH = """\
NPU ID                         : 2
Chip ID                        : 0
Health Status                  : Alarm
Error Code                     : 80E01801
Error Information              : node type=SoC, sensor type=Hard
                                 event state=asserted
"""
PROCESSES = """\
Process id:4321  Process name:python3     Process memory(MB):1200
Process id:4322  Process name:            Process memory(MB):80
"""


def test_list_gives_every_card_once() -> None:
    assert card_ids(LIST) == [1, 5]
    assert fields(LIST)[0]["Total Count"] == "2"


def test_map_keeps_what_is_not_a_chip_without_a_logic_id() -> None:
    assert chip_map(MAP) == [MappedChip(2, 0, 4, "Ascend 910B4"), MappedChip(2, 1, None, "Mcu")]


def test_error_information_runs_over_lines() -> None:
    assert fields(HEALTH) == [
        {
            "NPU ID": "2",
            "Chip ID": "0",
            "Health Status": "Alarm",
            "Error Code": "80E01801",
            "Error Information": "node type=SoC, sensor type=Hard\nevent state=asserted",
        }
    ]


def test_process_memory_belongs_to_the_card_asked_for() -> None:
    assert process_memory(PROCESSES, 2, 0) == [Process(2, 0, 4321, "python3", 1200), Process(2, 0, 4322, None, 80)]


def test_text_of_another_kind_gives_nothing() -> None:
    assert (card_ids("hello"), chip_map("hello"), process_memory("hello", 0, 0), fields("hello")) == ([], [], [], [])
