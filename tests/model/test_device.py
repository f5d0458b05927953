from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from env import npu_emulator
from env.device_name import Kind
from env.errors import BundleError, DeviceError, EnvironmentMissingError, OutOfMemoryError, UsageError
from model import device as devices
from model.device import Device, resolve, runtime_errors

CPU = Device("cpu", 0, "cpu")
NPU = Device("npu", 0, "npu:0")


class Runtime(SimpleNamespace):
    """What torch.npu or torch.cuda answers."""

    def __init__(self, count: int = 1, **more: Any) -> None:
        answers = {
            "device_count": lambda: count,
            "set_device": lambda index: None,
            "get_device_name": lambda index: "Ascend910B4",
            "get_device_properties": lambda index: SimpleNamespace(total_memory=64 * 2**30),
        }
        super().__init__(**{**answers, **more})


@pytest.fixture
def torch_npu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The __init__.py of a torch_npu that imports; tests write into it what it should do instead."""
    module = tmp_path / "torch_npu" / "__init__.py"
    module.parent.mkdir()
    module.write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch, "npu", Runtime(), raising=False)
    before = {name: sys.modules.pop(name) for name in ["torch_npu"] if name in sys.modules}
    yield module
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    sys.modules.pop("torch_npu", None)
    sys.modules.update(before)


def refusal(asked: str) -> BundleError:
    with pytest.raises(BundleError) as caught:
        resolve(asked)
    return caught.value


@pytest.mark.parametrize("asked", ["npu", "npu:0", "npu:7"])
def test_an_npu_without_torch_npu_says_that_and_what_the_host_lacks(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter(()))
    error = refusal(asked)
    assert isinstance(error, DeviceError)
    assert error.what == f"{asked} was asked for, and torch_npu is not installed in {sys.executable}"
    assert error.why.startswith("this machine has no NPU driver (/dev/davinci*)")
    assert "python -m env probe" in error.next


def test_an_npu_host_without_torch_npu_is_told_that_the_driver_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda path, pattern: iter([Path("/dev/davinci1"), Path("/dev/davinci0")]))
    assert refusal("npu:0").why.startswith("the driver is there (davinci0, davinci1)")


def test_missing_cann_libraries_are_named(torch_npu: Path) -> None:
    torch_npu.write_text(
        "raise ImportError('libhccl.so: cannot open shared object file: No such file or directory')", encoding="utf-8"
    )
    error = refusal("npu:0")
    assert isinstance(error, DeviceError)
    assert "does not load: libhccl.so: cannot open shared object file: No such file or directory" in error.what
    assert "set_env.sh" in error.next


def test_a_bare_exception_of_torch_npu_is_a_device_error_too(torch_npu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """_cann_package_check of torch_npu/utils/npu_intercept.py raises them; `auto` goes on to the CPU."""
    torch_npu.write_text("raise Exception('ASCEND_HOME_PATH : /gone does not exist.')", encoding="utf-8")
    assert isinstance(refusal("npu:0"), DeviceError)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert resolve("auto").label == "cpu"


def test_a_second_accelerator_is_named(torch_npu: Path) -> None:
    torch_npu.write_text(
        "raise RuntimeError('Two accelerators cannot be used at the same time in PyTorch')", encoding="utf-8"
    )
    assert "Two accelerators cannot be used at the same time" in refusal("npu:0").what


@pytest.mark.usefixtures("torch_npu")
def test_no_device_names_the_command_that_would_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "npu", Runtime(count=0))
    error = refusal("npu:0")
    assert error.what == "npu:0 was asked for, and the runtime finds no npu device"
    assert "ASCEND_RT_VISIBLE_DEVICES" in error.why
    assert error.next.startswith("npu-smi info")


@pytest.mark.usefixtures("torch_npu")
def test_an_index_out_of_range_names_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "npu", Runtime(count=2))
    error = refusal("npu:2")
    assert error.what == "npu:2 was asked for, and the runtime finds 2: npu:0, npu:1"


@pytest.mark.usefixtures("torch_npu")
def test_a_device_that_does_not_answer_is_told_in_the_runtime_s_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(index: int) -> None:
        raise RuntimeError("\nInitialize:build/NPU.cpp:95 error code is 507033\n[Error]: device is lost\n")

    runtime = Runtime()
    runtime.set_device = fail
    monkeypatch.setattr(torch, "npu", runtime)
    assert refusal("npu:0").what == "npu:0 does not answer: Initialize:build/NPU.cpp:95 error code is 507033"


@pytest.mark.usefixtures("torch_npu")
def test_a_count_that_fails_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("drvGetDevNum failed")

    runtime = Runtime()
    runtime.device_count = fail
    monkeypatch.setattr(torch, "npu", runtime)
    assert refusal("npu:0").what == "npu: drvGetDevNum failed"


def test_cuda_that_is_not_built_in_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert refusal("cuda:0").what == f"cuda:0 was asked for, and torch {torch.__version__} is built without CUDA"


def test_cuda_without_a_card_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch, "cuda", Runtime(count=0))
    error = refusal("cuda:1")
    assert error.what == "cuda:1 was asked for, and the runtime finds no cuda device"
    assert error.next.startswith("nvidia-smi")


def test_several_cards_are_more_than_a_session_runs_on() -> None:
    assert refusal("cuda:0,1").what == "cuda:0,1 names several cards, and this runs on one"


@pytest.mark.parametrize("asked", ["tpu:0", "npu:", "npu:-1", "NPU:0", "", "cpu:1", "npu 0"])
def test_other_spellings_are_refused(asked: str) -> None:
    error = refusal(asked)
    assert isinstance(error, UsageError)
    assert error.what == f"no device {asked!r}: npu:N, cuda:N, cpu or auto"


def test_a_python_without_torch_is_told_where_torch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = refusal("cpu")
    assert isinstance(error, EnvironmentMissingError)
    assert error.what == f"{sys.executable} has no torch"


@pytest.mark.parametrize("asked", ["cpu", "cpu:0"])
def test_the_cpu_is_there(asked: str) -> None:
    found = resolve(asked)
    assert (found.label, found.kind, str(found.torch_device)) == ("cpu", "cpu", "cpu")
    assert found.name
    assert found.total_memory_bytes
    assert found.total_memory_bytes > 2**30


def test_auto_takes_the_npu_before_the_cpu(torch_npu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "torch_device", "cpu")
    assert resolve("auto").label == "npu:0"
    torch_npu.write_text("raise ImportError('libhccl.so')", encoding="utf-8")
    del sys.modules["torch_npu"]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert resolve("auto").label == "cpu"


@pytest.mark.usefixtures("torch_npu")
def test_an_npu_is_asked_for_the_same_bits_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "torch_device", "cpu")
    assert not devices.deterministic()
    resolve("npu:0")
    assert devices.deterministic()


@pytest.mark.usefixtures("torch_npu")
@pytest.mark.parametrize("chip", ["Ascend910B4", "Ascend310P3"])
def test_operators_are_not_compiled_anew_for_every_shape(chip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    switched: list[bool] = []
    runtime = Runtime(
        get_device_name=lambda index: chip,
        is_bf16_supported=lambda: chip == "Ascend910B4",
        set_compile_mode=lambda jit_compile: switched.append(jit_compile),
    )
    monkeypatch.setattr(torch, "npu", runtime)
    monkeypatch.setattr(Device, "torch_device", "cpu")
    resolve("npu:0")
    assert switched == ([] if chip == "Ascend910B4" else [False])


@pytest.mark.slow
def test_off_the_npu_transformers_cannot_import_a_torch_npu_that_does_not_load(torch_npu: Path) -> None:
    # In a process of its own: what is hidden stays hidden. transformers asks find_spec, then imports unguarded.
    torch_npu.write_text("raise ImportError('libhccl.so')", encoding="utf-8")
    code = (
        "from model.device import resolve; assert resolve('cpu').label == 'cpu'\n"
        "import importlib.util; assert importlib.util.find_spec('torch_npu') is None\n"
        "from transformers.utils import is_torch_npu_available; assert not is_torch_npu_available()"
    )
    root = Path(devices.__file__).parent.parent
    paths = f"{torch_npu.parent.parent}:{root}"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


OUT_OF_MEMORY: dict[Kind, str] = {
    "npu": "NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 60.97 GiB total capacity)",
    "cuda": "CUDA out of memory. Tried to allocate 20.00 MiB.",
    "cpu": "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4611686018427387904 bytes. Error code 12 (Cannot allocate memory)",
}


@pytest.mark.parametrize(("kind", "message"), OUT_OF_MEMORY.items())
def test_out_of_memory_is_one_error_on_every_device(kind: Kind, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "total_memory_bytes", 64 * 2**30)
    with pytest.raises(OutOfMemoryError) as caught, runtime_errors(Device(kind, 0, kind), "running encoder"):
        raise RuntimeError(message)
    label = kind if kind == "cpu" else f"{kind}:0"
    assert caught.value.what == f"{label} of 64 GiB ran out of memory while running encoder"
    assert caught.value.why == message


# What CANN says where its own memory is short, not torch-npu's allocator's: error_code.json of hicann/runtime, and
# NPUErrorCodes.h and isCannOOM (NPUException.cpp) of torch-npu v7.3.1.
OF_CANN = [
    "EL0004: [PID: 7] Failed to allocate memory requested by RUNTIME module.\n        Solution: Close applications ...",
    "copy:NPU.cpp:1 NPU function error: call, error code is 207001\n[ERROR] ERR00100 PTA call acl api failed",
    "[Error]: Failed to apply for memory.\n        Rectify the fault based on the error information in the ascend log.",
    "EZ9999: The memory on the device is exhausted. \n",
    "copy:NPU.cpp:1 NPU function error: call, error code is 207018",
]


@pytest.mark.parametrize("message", OF_CANN)
def test_cann_s_own_out_of_memory_is_one_and_is_not_tried_again(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "total_memory_bytes", 64 * 2**30)
    with pytest.raises(OutOfMemoryError) as caught, runtime_errors(NPU, "running encoder"):
        raise RuntimeError(message)
    assert not caught.value.again


def test_what_an_allocator_refuses_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "total_memory_bytes", 64 * 2**30)
    for kind, message in OUT_OF_MEMORY.items():
        with pytest.raises(OutOfMemoryError) as caught, runtime_errors(Device(kind, 0, kind), "running encoder"):
            raise RuntimeError(message)
        assert caught.value.again


def test_a_chip_without_bfloat16_is_not_told_to_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "total_memory_bytes", 64 * 2**30)
    monkeypatch.setattr(torch, "npu", Runtime(is_bf16_supported=lambda: False), raising=False)
    with pytest.raises(OutOfMemoryError) as caught, runtime_errors(NPU, "running encoder"):
        raise RuntimeError(OUT_OF_MEMORY["npu"])
    assert caught.value.next.endswith("--dtype float16")


def test_a_real_allocation_that_fails_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemoryError), runtime_errors(CPU, "allocating"):
        torch.empty(2**60, dtype=torch.float32)


def test_python_s_memory_error_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemoryError) as caught, runtime_errors(CPU, "loading"):
        raise MemoryError
    assert caught.value.why == "the host has no memory left"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("copy_d2h:build/CopyKernel.cpp:118 NPU function error, error code is 507018", "error code is 507018"),
        ("operator(): aclnnMatmul failed\n[ERROR] ERR00100 PTA call acl api failed", "ERR00100"),
        # With TORCH_NPU_COMPACT_ERROR_OUTPUT=1 (NPUException.h) nothing of torch-npu's own is left.
        ("EZ9999: Inner Error!\nEZ9999: The error from device 0, kernel task happen error", "EZ9999"),
        ("EE1001: [PID: 7] The argument is invalid.", "EE1001"),
    ],
)
def test_an_error_code_of_the_npu_runtime_is_a_device_error(message: str, code: str) -> None:
    with pytest.raises(DeviceError) as caught, runtime_errors(NPU, "running encoder"):
        raise RuntimeError(message)
    assert caught.value.what == f"npu:0 failed while running encoder: {message.splitlines()[0]}"
    assert caught.value.why == f"the NPU runtime reported {code}"


def test_an_error_that_comes_late_says_so_and_how_to_find_the_operator() -> None:
    text = (
        "The Inner error is reported as above. The process exits for this inner error, and the current working "
        "operator name is MatMul.\nSince the operator is called asynchronously, the stacktrace may be inaccurate.\n"
        "[ERROR] 2026-11-25-16:00:00 (PID:7, Device:0, RankID:-1) ERR00100 PTA call acl api failed.\n"
    )
    with pytest.raises(DeviceError) as caught, runtime_errors(NPU, "running encoder"):
        raise RuntimeError(text)
    assert caught.value.why == "the NPU runtime reported ERR00100, late: an operator before this one failed"
    assert caught.value.next.startswith("ASCEND_LAUNCH_BLOCKING=1 before the same command")


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), runtime_errors(NPU, "running encoder"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    own = UsageError("as it was")
    with pytest.raises(UsageError) as caught, runtime_errors(NPU, "running encoder"):
        raise own
    assert caught.value is own


def test_the_emulator_s_variable_marks_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(npu_emulator.VARIABLE, raising=False)
    assert not devices.emulated()
    monkeypatch.setenv(npu_emulator.VARIABLE, "1")
    assert devices.emulated()


def test_the_emulator_s_symbol_marks_a_process_whose_environment_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(npu_emulator.VARIABLE, raising=False)
    monkeypatch.setattr(npu_emulator, "SYMBOL", "malloc")  # a symbol that is in every process
    assert devices.emulated()


def test_peak_memory_of_the_cpu_counts_from_the_reset() -> None:
    if not CPU.reset_peak_memory():
        pytest.skip("this kernel does not let a process reset its peak")
    before = CPU.peak_memory()
    block = torch.ones(64 * 2**20, dtype=torch.uint8)
    after = CPU.peak_memory()
    assert before["kind"] == after["kind"] == "rss"
    assert 60 * 2**20 < after["peak_bytes"] - before["peak_bytes"] < 80 * 2**20
    del block
    CPU.reset_peak_memory()
    assert CPU.peak_memory()["peak_bytes"] < after["peak_bytes"]


def test_small_models_get_one_thread_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
        assert devices.set_threads(4_000_000) == 1
        assert devices.set_threads(2_000_000_000) == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        torch.set_num_threads(2)
        assert devices.set_threads(4_000_000) == 2
    finally:
        torch.set_num_threads(before)


def test_versions_name_what_a_figure_depends_on() -> None:
    found = devices.versions()
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"python", "transformers", "numpy"} <= found.keys()
    assert "cann" not in found
