"""What the device check does before it judges: CANN's operator compiler is started there, not first in `sharp`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from env.errors import DeviceError
from model import components
from model.device import Device
from verify.checks import device as device_check
from verify.run.figures.host import DeviceFigures, GeluFigures, OperationFigures
from verify.run.judgement import of_device

NPU = Device("npu", 0, "npu:0")


class Switch:
    """torch.npu.conv or matmul, whose switch asks the compiler for something."""

    def __init__(self, error: str = "") -> None:
        object.__setattr__(self, "error", error)

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__["error"]:
            raise RuntimeError(self.__dict__["error"])
        self.__dict__[name] = value


def runtime(monkeypatch: pytest.MonkeyPatch, name: str = "Ascend910B4", error: str = "") -> SimpleNamespace:
    made = SimpleNamespace(
        conv=Switch(error),
        matmul=Switch(),
        get_device_name=lambda index: name,
        is_bf16_supported=lambda: name == "Ascend910B4",
    )
    monkeypatch.setattr(torch, "npu", made, raising=False)
    return made


def test_the_compiler_is_started_and_timed_and_float32_is_float32_from_there_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = runtime(monkeypatch)
    seconds = device_check._compiler_start(NPU)
    assert seconds is not None
    assert seconds >= 0
    assert (made.conv.allow_hf32, made.matmul.allow_hf32) == (False, False)


def test_a_chip_that_has_no_float32_product_and_a_cpu_start_none(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(monkeypatch, "Ascend310P3", error="must not be asked")
    assert device_check._compiler_start(NPU) is None
    assert device_check._compiler_start(Device("cpu", 0, "cpu")) is None


# As vllm-ascend#692 and MinerU#2258 have it: TBE's Python modules are missing.
NOT_STARTED = "SetPrecisionMode:build/OptionRegister.cpp:1 NPU function error: at_npu::native::AclSetCompileopt(...), "
NOT_STARTED += "error code is 500001\n[ERROR] ERR00100 PTA call acl api failed\nE39999: Inner Error!"


def test_a_compiler_that_does_not_start_is_told_with_the_modules_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(monkeypatch, error=NOT_STARTED)
    with pytest.raises(DeviceError) as caught:
        components.full_precision(NPU, "float32")
    assert caught.value.what.startswith("npu:0 failed while starting CANN's operator compiler: SetPrecisionMode")
    assert "error code is 500001" in caught.value.why
    assert "import decorator, attr, psutil" in caught.value.next
    assert "plog" in caught.value.next


def test_another_dtype_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(monkeypatch, error="must not be asked")
    components.full_precision(NPU, "bfloat16")


def test_which_card_it_is_survives_a_renumbering(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASCEND_RT_VISIBLE_DEVICES=5 makes card 5 npu:0; NPUDeviceProp of torch-npu v7.3.1 (csrc/npu/Module.cpp)."""
    made = runtime(monkeypatch)
    properties = SimpleNamespace(uuid="656d756c-6174", cube_core_num=20, vector_core_num=40, L2_cache_size=96 << 20)
    made.get_device_properties = lambda index: properties
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "5")
    card = {"visible": "5", "index": 0, "uuid": "656d756c-6174", "cores": [20, 40], "l2_bytes": 96 << 20}
    assert NPU.physical == card
    made.get_device_properties = lambda index: SimpleNamespace(uuid="00000000-0000")  # the runtime does not know
    assert NPU.physical == {"visible": "5", "index": 0, "uuid": None, "cores": None, "l2_bytes": None}
    assert Device("cpu", 0, "cpu").physical is None


def test_memory_in_use_is_the_whole_device_s(monkeypatch: pytest.MonkeyPatch) -> None:
    made = runtime(monkeypatch)
    made.mem_get_info = lambda index: (29 << 30, 32 << 30)
    assert NPU.used_memory() == 3 << 30
    assert Device("cpu", 0, "cpu").used_memory() is None


@pytest.mark.parametrize(
    ("form", "switched", "release", "problem"),
    [
        ("tanh", None, "2.9.0", ""),  # it has no switch: a caveat of the verdict
        ("tanh", False, "2.9.0.post2", ""),
        ("tanh", True, "2.9.0.post1+gitee7ba04", ""),  # of CANN 8.5, on which the vendor skips its own tests of it
        ("tanh", True, "2.9.0.post2", "though torch-npu 2.9.0.post2 has the exact one on"),
        ("tanh", True, "2.10.0.post4", "though torch-npu 2.10.0.post4 has the exact one on"),
        ("erf", True, "2.9.0.post2", ""),
    ],
)
def test_gelu_by_tanh_is_a_fault_where_the_exact_one_is_on_and_tested_by_its_maker(
    form: Any, switched: bool | None, release: str, problem: str
) -> None:
    erf, tanh = (1e-7, 4.7e-4) if form == "erf" else (4.7e-4, 1e-7)
    figures = DeviceFigures(
        asked="npu:0",
        kind="npu",
        index=0,
        label="npu:0",
        name="Ascend910B4",
        total_memory_bytes=None,
        emulated=False,
        versions={"torch-npu": release},
        op=OperationFigures(name="matmul", size=64, max_abs=0.0),
        gelu=GeluFigures(form=form, erf_error=erf, tanh_error=tanh, switched=switched),
    )
    problems = list(of_device(figures))
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)
