"""Every kind of fault shows on the emulated device: in numbers, in torch-npu's errors, or in how the process ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
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
    put(interceptors, kind, size=1.01)
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
