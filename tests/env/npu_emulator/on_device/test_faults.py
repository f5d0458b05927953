"""Every kind of fault shows on the emulated device: in numbers, in torch-npu's errors, or in how the process ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_npu
from bundle.verify.faults.events import fail_call  # type: ignore[import-not-found]
from bundle.verify.faults.modules import Scopes  # type: ignore[import-not-found]
from bundle.verify.faults.ops import OpFaults  # type: ignore[import-not-found]
from bundle.verify.faults.spec import BITS, CORRUPTIONS, Fault  # type: ignore[import-not-found]

ONES = torch.ones(4, 4)


def put(interceptors: list[Any], kind: str, **fields: Any) -> None:
    target = fields.pop("target", "matmul")
    interceptors.append(OpFaults([Fault(at="op", target=target, kind=kind, **fields)], Scopes()))


def product() -> torch.Tensor:
    x = torch.arange(16.0).view(4, 4).div(7)
    result: torch.Tensor = (x.to("npu") @ x.to("npu")).cpu()
    return result


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS - {"bitflip", "stale"}))
def test_a_wrong_number_shows(interceptors: list[Any], kind: str) -> None:
    right = product()
    put(interceptors, kind, size=1.01, bits=3)
    assert not torch.equal(product(), right)
    interceptors.clear()
    assert torch.equal(product(), right)


@pytest.mark.parametrize("bit", BITS)
def test_a_flipped_bit_shows(interceptors: list[Any], bit: str) -> None:
    right = product()
    put(interceptors, "bitflip", bit=bit, element=9)
    assert (product() != right).sum() == 1


def test_a_stale_result_is_that_of_the_call_before(interceptors: list[Any]) -> None:
    put(interceptors, "stale", nth=2)
    first = (ONES.to("npu") @ ONES.to("npu")).cpu()
    assert torch.equal((2 * ONES.to("npu") @ ONES.to("npu")).cpu(), first)


def test_the_fused_attention_can_be_faulty(interceptors: list[Any]) -> None:
    put(interceptors, "nan", target="npu_fusion_attention*")
    query = torch.ones(1, 2, 3, 16, device="npu")
    assert torch.nn.functional.scaled_dot_product_attention(query, query, query).isnan().any().item()


def test_in_place_operators_can_be_faulty(interceptors: list[Any]) -> None:
    put(interceptors, "zero", target="add_.Tensor")
    x = ONES.to("npu")
    x.add_(1)
    assert x.sum().item() == 0


def test_a_slow_operator_takes_its_time(interceptors: list[Any]) -> None:
    put(interceptors, "slow", size=0.2)
    start = time.perf_counter()
    product()
    assert time.perf_counter() - start > 0.2


def test_out_of_memory_is_raised_by_torch_npus_allocator(interceptors: list[Any]) -> None:
    put(interceptors, "oom")
    with pytest.raises(RuntimeError, match=r"NPU out of memory\. Tried to allocate"):
        product()


def test_an_operators_error_code_comes_back_once(interceptors: list[Any]) -> None:
    put(interceptors, "op_error", times=1)
    with pytest.raises(RuntimeError, match=r"error code is 507015"):
        product()
    assert product().shape == (4, 4)
    torch_npu.npu.synchronize()


def test_an_acl_calls_error_is_raised_by_torch_npu_until_it_is_over() -> None:
    fail_call("aclrtMemcpy", 2, 1, 507013)
    host = ONES.to("npu")
    with pytest.raises(RuntimeError, match=r"error code is 507013"):
        host.cpu()
    assert torch.equal(host.cpu(), ONES)


def test_an_allocation_that_fails_once_is_tried_again() -> None:
    torch_npu.npu.empty_cache()
    fail_call("aclrtMalloc", 1, 1, 207001)
    assert torch.ones(1 << 23, device="npu").mean().item() == 1  # torch-npu frees what it holds and asks again


def ended(action: Callable[[], object], limit: float = 60.0) -> str:
    """How a forked copy of this process ends that does `action`: what it raised, its signal, or "hangs"."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            said = "nothing"
        except BaseException as error:
            said = str(error)
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            text = os.read(read, 4000).decode()
            os.close(read)
            return signal.Signals(status & 0x7F).name if status & 0x7F else text
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    return "hangs"


def test_a_late_error_is_raised_once_and_then_every_operator_is_dropped_in_silence(interceptors: list[Any]) -> None:
    """As torch-npu v7.3.1 has it (NPUQueue.cpp: Enqueue and MakeSureQueueEmpty in status CAN_EXIT)."""
    put(interceptors, "late_error", times=1)

    def act() -> None:
        x = ONES.to("npu")
        lost = x @ x  # nothing is raised here
        with pytest.raises(RuntimeError, match=r"The Inner error is reported as above\..*operator name is matmul"):
            lost.cpu()
        torch_npu.npu.synchronize()
        x.add_(1)
        assert torch.equal(x.cpu(), ONES)
        assert not torch.equal((x * 5).cpu(), 5 * ONES)

    assert ended(act) == "nothing"


@pytest.mark.parametrize("wait", [torch_npu.npu.synchronize, lambda: [torch.zeros(1, device="npu") for _ in range(9)]])
def test_what_meets_the_queue_next_raises_the_late_error(interceptors: list[Any], wait: Callable[[], object]) -> None:
    put(interceptors, "late_error", times=1)

    def act() -> None:
        ONES.to("npu") @ ONES.to("npu")
        with pytest.raises(RuntimeError, match="ERR00100 PTA call acl api failed"):
            wait()

    assert ended(act) == "nothing"


def test_what_fails_is_in_cann_s_own_log(interceptors: list[Any], tmp_path: Path) -> None:
    put(interceptors, "late_error", times=1)

    def act() -> None:
        os.environ["ASCEND_PROCESS_LOG_PATH"] = str(tmp_path)
        ONES.to("npu") @ ONES.to("npu")
        with pytest.raises(RuntimeError):
            torch_npu.npu.synchronize()
        ONES.to("npu") + 1

    assert ended(act) == "nothing"
    (log,) = tmp_path.glob("debug/plog/plog-*_*.log")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("[ERROR] ") for line in lines)
    assert "[aicore exception]" in lines[0]
    assert "can't call Enqueue() for executing and op name is=add" in lines[-1]


def test_an_operator_that_runs_on_the_host_says_so_once(
    interceptors: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    put(interceptors, "cpu_fallback")
    right = product()
    assert torch.equal(product(), right)
    assert capfd.readouterr().err.count("'aten::matmul' is not currently supported on the NPU backend") == 1


def test_torch_npu_itself_says_what_it_runs_on_the_host(capfd: pytest.CaptureFixture[str]) -> None:
    value = torch.lgamma(ONES.to("npu"))  # it has no kernel of that name
    assert torch.equal(value.cpu(), torch.lgamma(ONES))
    assert "The operator 'aten::lgamma.out' is not currently supported on the NPU backend" in capfd.readouterr().err


def test_a_lost_device_never_answers_again(interceptors: list[Any]) -> None:
    put(interceptors, "device_lost", times=1)

    def act() -> None:
        with pytest.raises(RuntimeError, match=r"507010"):
            product()
        ONES.to("npu")

    assert "507010" in ended(act)


def test_a_segmentation_fault_ends_the_process(interceptors: list[Any]) -> None:
    put(interceptors, "segfault")
    assert ended(product) == "SIGSEGV"


def test_a_hang_never_returns(interceptors: list[Any]) -> None:
    put(interceptors, "hang")
    assert ended(product, limit=1.0) == "hangs"
