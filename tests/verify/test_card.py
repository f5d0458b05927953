"""The card while a check runs, by captured answers of npu-smi and nvidia-smi; what it cannot say ends nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from msgspec import structs

from env.runner import NOT_FOUND, Completed
from model.device import Device
from verify.run import card
from verify.run.card import Card, Gpu, Npu, UnreadError, Watch
from verify.run.figures.card import CardFigures, ErrorCounts
from verify.run.judgement import of_card

MAP = """\
\tNPU ID                         Chip ID                        Chip Logic ID                  Chip Name
\t4                              0                              0                              Ascend 910B4
\t4                              1                              -                              Mcu
\t6                              0                              1                              Ascend 910B4
\t6                              1                              -                              Mcu
"""
COMMON = """\
\tNPU ID                         : 6
\tChip Count                     : 1
\tChip ID                        : 0
\tHBM Usage Rate(%)              : 25
\tAicore Usage Rate(%)           : 90
\tAicore Freq(MHZ)               : 1800
\tAicore curFreq(MHZ)            : {mhz}
\tTemperature(C)                 : 71
\tNPU Real-time Power(W)         : 263.5
"""
ECC = """\
\tNPU ID                                   : 6
\tChip Count                               : 1

\tHBM Single Bit Error Count               : 2
\tHBM Double Bit Error Count               : {double}
\tHBM Single Bit Aggregate Total Err Cnt   : 9
\tHBM Double Bit Isolated Pages Count      : 1
\tChip ID                                  : 0
"""


def npu_smi(**answers: str) -> Callable[..., Completed]:
    def run(args: Sequence[str], *, timeout: float = 10.0, environ: Any = None) -> Completed:
        topic = "map" if args[-1] == "-m" else args[3]
        assert topic == "map" or tuple(args[-4:]) == ("-i", "6", "-c", "0")
        return Completed(tuple(args), 0, answers.get(topic, ""))

    return run


@pytest.mark.parametrize(("index", "visible"), [(1, {}), (0, {"ASCEND_RT_VISIBLE_DEVICES": "1,0"})])
def test_npu_smi_is_asked_for_the_card_that_torch_s_number_means(index: int, visible: dict[str, str]) -> None:
    npu = Npu(index, npu_smi(map=MAP, common=COMMON.format(mhz=1500), ecc=ECC.format(double=0)), visible)
    assert npu.name == "-i 6 -c 0"
    assert npu.sample() == {"busy": 0.9, "mhz": 1500.0, "power_w": 263.5, "temp_c": 71.0, "memory": 0.25}
    assert npu.errors() == ErrorCounts(single_bit=2, double_bit=0, isolated_pages=1)


def test_nvidia_smi_is_asked_by_uuid_and_what_it_does_not_measure_is_none() -> None:
    def run(args: Sequence[str], *, timeout: float = 10.0, environ: Any = None) -> Completed:
        assert tuple(args[1:3]) == ("-i", "GPU-0a1b")
        sampled = args[3].startswith("--query-gpu=utilization")
        return Completed(tuple(args), 0, "98, 1980, [N/A], 64, 20480, 81920\n" if sampled else "[N/A], [N/A], [N/A]\n")

    gpu = Gpu("0a1b", run)
    assert gpu.sample() == {"busy": 0.98, "mhz": 1980.0, "power_w": None, "temp_c": 64.0, "memory": 0.25}
    assert gpu.errors() is None


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"map": "dcmi module initialize failed. ret is -8005\n"}, "no chip with logic ID 1"),
        ({"map": MAP, "common": "dcmi module initialize failed. ret is -8005\n"}, "-8005"),
        ({"map": MAP, "common": ""}, "no chip in its answer"),
    ],
)
def test_what_npu_smi_does_not_say_is_unread(answers: dict[str, str], message: str) -> None:
    with pytest.raises(UnreadError, match=message):
        Npu(1, npu_smi(**answers), {}).sample()


def test_a_tool_that_is_not_there_is_unread() -> None:
    with pytest.raises(UnreadError, match="npu-smi: command not found"):
        Npu(0, lambda args, **_options: Completed(tuple(args), NOT_FOUND, stderr="npu-smi: command not found"), {})


class Fake:
    """A card that slows by 100 MHz a reading, and counts a double-bit error when it was asked twice."""

    tool, name = "npu-smi", "-i 6 -c 0"

    def __init__(self, *, broken: bool = False) -> None:
        self._clock = itertools.count(1800, -100)
        self._errors = itertools.count()
        self._broken = broken

    def sample(self) -> dict[str, float | None]:
        if self._broken:
            raise UnreadError("npu-smi: no answer in 20 s")
        return {"busy": 0.9, "mhz": float(next(self._clock)), "power_w": None, "temp_c": 92.0, "memory": 0.5}

    def errors(self) -> ErrorCounts | None:
        return ErrorCounts(single_bit=0, double_bit=next(self._errors), isolated_pages=0)


def watched(found: Callable[[Device], Card | None], kind: Literal["npu", "cpu"] = "npu") -> CardFigures | None:
    """With a last sample when the body is over there are two at least."""
    with Watch(Device(kind, 0, kind), every_s=60, find=found) as watch:
        pass
    return watch.figures


def test_a_clock_that_falls_and_an_error_of_the_memory_are_said() -> None:
    figures = watched(lambda device: Fake())
    assert figures is not None
    assert [sample.mhz for sample in figures.samples] == [1800.0, 1700.0]
    assert card.slowed(figures) == "the clock fell from 1800 to 1700 MHz at 92 C"
    assert of_card(figures) == ["1 double-bit errors of the card's memory meanwhile (npu-smi)"]
    assert figures.spread["busy"].median == 0.9
    assert "power_w" not in figures.spread


def test_a_steady_clock_and_a_steady_count_say_nothing() -> None:
    figures = watched(lambda device: Fake())
    assert figures is not None
    assert of_card(structs.replace(figures, errors_after=figures.errors_before)) == []
    steady = structs.replace(figures.spread["mhz"], last=1790.0)
    assert card.slowed(structs.replace(figures, spread={**figures.spread, "mhz": steady})) is None


def test_a_tool_that_does_not_answer_ends_nothing_and_is_said() -> None:
    def nowhere(device: Device) -> Card | None:
        raise UnreadError("npu-smi: command not found")

    absent, silent = watched(nowhere), watched(lambda device: Fake(broken=True))
    assert absent is not None
    assert silent is not None
    assert (absent.unread, absent.samples) == ("npu-smi: command not found", [])
    assert (silent.unread, silent.samples) == ("npu-smi: no answer in 20 s", [])
    assert of_card(absent) == of_card(silent) == []
    assert card.slowed(silent) is None


def test_a_cpu_has_no_card() -> None:
    assert watched(card.card_of, "cpu") is None
