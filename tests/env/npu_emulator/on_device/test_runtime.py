"""Devices, memory, generators, streams and errors of the emulated NPU: torch-npu's own code over acl.c."""

from __future__ import annotations

import ctypes
import gc
import os
import time

import pytest
import torch
import torch_npu
from bundle.verify.faults.events import fail_call  # type: ignore[import-not-found]

MIB = 1 << 20
npu = torch_npu.npu


def test_the_device_is_named_and_marked_as_emulated() -> None:
    assert npu.is_available()
    assert npu.device_count() == int(os.environ["NPU_EMU_COUNT"])
    assert npu.get_device_name(0) == "Ascend910B4"
    assert hasattr(ctypes.CDLL(None), "npu_emulator_version")


def test_a_device_index_out_of_range_is_torch_npus_own_error() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)error code is 107001.*ERR00100 PTA call acl api failed"):
        npu.set_device(5)


def test_memory_is_accounted_and_given_back() -> None:
    gc.collect()
    npu.empty_cache()
    before, free_before = npu.memory_allocated(), npu.mem_get_info()[0]
    block = torch.zeros(64 * MIB, dtype=torch.uint8, device="npu")
    assert 0 <= npu.memory_allocated() - before - 64 * MIB < MIB  # torch-npu asks for a little more
    assert free_before - npu.mem_get_info()[0] >= 64 * MIB
    del block
    gc.collect()
    npu.empty_cache()
    assert (npu.memory_allocated(), npu.mem_get_info()[0]) == (before, free_before)


def test_memory_runs_out_at_the_limit_in_torch_npus_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPU_EMU_TAKEN", "0")
    monkeypatch.setenv("NPU_EMU_HBM", str(npu.memory_reserved() + 32 * MIB))
    with pytest.raises(RuntimeError, match=r"NPU out of memory\. Tried to allocate 6\d\.00 MiB"):
        torch.zeros(64 * MIB, dtype=torch.uint8, device="npu")
    assert torch.zeros(16 * MIB, dtype=torch.uint8, device="npu").sum().item() == 0


def test_what_others_hold_is_not_free_but_counts_as_the_card_s() -> None:
    free, total = npu.mem_get_info()
    assert total == 32 * 1024 * MIB  # as npu-smi shows of a 910B4
    assert total - free >= 2811 * MIB


def test_an_operators_result_counts_against_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    tall = torch.ones(4 * MIB, device="npu")
    npu.empty_cache()
    monkeypatch.setenv("NPU_EMU_TAKEN", "0")
    monkeypatch.setenv("NPU_EMU_HBM", str(npu.memory_reserved() + 8 * MIB))
    with pytest.raises(RuntimeError, match="NPU out of memory"):
        tall + 1


def test_seeds_reach_every_random_operator_and_leave_the_cpus_stream_alone() -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)

    def drawn() -> list[torch.Tensor]:
        npu.manual_seed_all(3)
        return [torch.randn(4, device="npu"), torch.empty(9, device="npu").bernoulli_(0.3),
                torch.randperm(16, device="npu"), torch.empty(3, device="npu").uniform_()]  # fmt: skip

    torch.manual_seed(9)
    first, second = drawn(), drawn()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(torch.randn(4, device="npu"), first[0])
    torch.manual_seed(9)
    npu.manual_seed_all(4)
    torch.randn(4, device="npu")
    assert torch.equal(torch.rand(3), expected)


def test_a_generator_and_its_state_repeat_what_was_drawn() -> None:
    generator = torch.Generator(device="npu").manual_seed(5)
    first = torch.rand(3, generator=generator, device="npu")
    assert not torch.equal(torch.rand(3, generator=generator, device="npu"), first)
    assert torch.equal(torch.rand(3, generator=generator.manual_seed(5), device="npu"), first)
    state = npu.get_rng_state()
    drawn = torch.rand(2, device="npu")
    npu.set_rng_state(state)
    assert torch.equal(torch.rand(2, device="npu"), drawn)


def test_events_measure_time() -> None:
    start, end = npu.Event(enable_timing=True), npu.Event(enable_timing=True)
    start.record()
    time.sleep(0.02)
    end.record()
    npu.synchronize()
    assert 20 <= start.elapsed_time(end) < 1000


def test_side_streams_and_pinned_memory_work() -> None:
    host = torch.arange(10.0).pin_memory("npu")
    assert host.is_pinned("npu")
    with npu.stream(npu.Stream()):
        device = host.to("npu", non_blocking=True) * 2
    npu.synchronize()
    assert device.cpu().tolist() == [2.0 * number for number in range(10)]


@pytest.mark.parametrize(
    ("code", "returned"), [(None, 0), (574006, 2), (574008, 2), (574009, 2), (207000, 1), (574000, 1)]
)
def test_the_vendors_test_for_silent_errors_is_torch_npus_own_over_what_the_runtime_says(
    code: int | None, returned: int, capfd: pytest.CaptureFixture[str]
) -> None:
    if code is not None:
        fail_call("AmlAicoreDetectOnline", 1, 1, code)
    free = npu.mem_get_info()[0]
    assert npu.stress_detect() == returned
    assert npu.mem_get_info()[0] == free  # its workspace of 10 GiB is given back
    assert (f"error code is {code}" in capfd.readouterr().err) is (code is not None)


def test_a_voltage_that_is_not_restored_is_an_error_and_memory_that_is_not_there_a_test_that_did_not_run() -> None:
    fail_call("AmlAicoreDetectOnline", 1, 1, 574007)
    with pytest.raises(RuntimeError, match=r"574007.*Voltage recovery failed"):
        npu.stress_detect()
    fail_call("aclrtMallocAlign32", 1, 2, 207001)
    assert npu.stress_detect() == 1
    assert npu.stress_detect("other") == 1
