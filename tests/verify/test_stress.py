"""The vendor's test for silent errors: when it is not run, and what each of its ends comes to."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from env.npu_smi import Process
from env.runner import Completed
from model.components import Loaded
from model.device import Device
from tests.verify.test_card import Fake
from verify.checks import stress
from verify.checks.stress import Ran, detect, unfit, why_not
from verify.run.card import Watch, strangers
from verify.run.context import Context
from verify.run.records import Status
from verify.run.verification import Verification

GIB = 2**30
TORCH_NPU = "[W1125 20:00:50.388239853 Stress_detect.cpp:104] Warning: {text} (function transfer_result)\n"
MALFUNCTION = "Stress detect failed due to hardware malfunction, device id is 0, error code is 574006"
NOT_SUPPORTED = "Stress detect test case execution failed, device id is 0, error code is 207000"
NO_MEMORY = "Stress detect failed, call AclrtMallocAlign32 failed, skip StressDetect, device id is 0, error is 207001"
RECOVERY = "Stress detect error. Error code is 574007. Error message is Voltage recovery failed.\n[ERROR] ERR00100"
# As npu-smi info ends where something runs (25.2); the table above it says nothing of processes.
PROCESSES = """\
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | {pid:<13} | python3.11               | 1733                    |
| 3       0                 | 4242          | python3.11               | 21733                   |
+===========================+===============+====================================================+
"""


class Card(Device):
    """An NPU that says what it is told to."""

    chip, used = "Ascend910B4", 3 * GIB

    @property
    def name(self) -> str:
        return self.chip

    @property
    def total_memory_bytes(self) -> int:
        return 32 * GIB

    def used_memory(self) -> int:
        return self.used

    def empty_cache(self) -> None:
        pass


def card(chip: str = "Ascend910B4", used: int = 3 * GIB) -> Device:
    kind = type("Kind", (Card,), {"chip": chip, "used": used})
    device = kind("npu", 0, "npu:0")
    assert isinstance(device, Device)
    return device


def npu_smi(text: str = "", returncode: int = 0) -> Callable[..., Completed]:
    return lambda args, **_options: Completed(tuple(args), returncode, text)


@pytest.mark.parametrize(
    ("device", "answer", "why"),
    [
        (Device("cpu", 0, "cpu"), "", "one of NPUs, and this is cpu"),
        (card("Ascend310P3"), "", "for Atlas A2 and A3, and this is Ascend310P3"),
        (card(used=23 * GIB), "", "needs 10 GiB of the card's memory, and 9.0 are free"),
        (card(), PROCESSES.format(pid=os.getpid()), "process 4242 is on NPU 3"),
        (card(), PROCESSES.format(pid=os.getpid()).replace("| 3       0                 | 4242 ", "| x"), None),
        (card("Ascend910_9382"), "", None),
    ],
)
def test_where_the_test_must_not_run_the_reason_says_why(device: Device, answer: str, why: str | None) -> None:
    reason = unfit(device, npu_smi(answer))
    assert reason is None if why is None else why in str(reason)


def test_without_npu_smi_nothing_is_known_of_others() -> None:
    assert unfit(card(), npu_smi("", 127)) is None


@pytest.mark.parametrize(
    ("pids", "others"),
    [([], []), ([7], []), ([900], []), ([7, 900], [900]), ([900, 901], [900, 901])],
)
def test_one_process_may_be_this_one_under_the_host_s_number(pids: list[int], others: list[int]) -> None:
    rows = [Process(npu=0, chip=0, pid=pid, name=None, memory_mb=1) for pid in pids]
    assert [row.pid for row in strangers(rows, own=7)] == others


def ending(returned: int | None, text: str = "", raised: str = "") -> Callable[[], int]:
    """What torch-npu does at its end: a line on the process's own standard error, then a value or an error."""

    def call() -> int:
        os.write(2, TORCH_NPU.format(text=text).encode() if text else b"")
        if raised:
            raise RuntimeError(raised)
        assert returned is not None
        return returned

    return call


ENDS = [
    (ending(0), Status.PASS, "no silent error in"),
    (ending(2, MALFUNCTION), Status.FAIL, "found the card computing wrong (code 574006)"),
    (ending(None, raised=RECOVERY), Status.FAIL, "voltage was not restored after the vendor's test: reboot"),
    (ending(1, NOT_SUPPORTED), Status.SKIP, f"did not run: {NOT_SUPPORTED}"),
    (ending(1, NO_MEMORY), Status.SKIP, "AclrtMallocAlign32 failed, skip StressDetect"),
    (ending(1), Status.SKIP, "it returned 1"),
    (ending(7), Status.SKIP, "it returned 7"),
]


@pytest.fixture
def session(tiny_float32: Loaded) -> Verification:
    folder = tiny_float32.checkpoint.folder
    session = Verification(Context("cpu", str(folder), "float32", 42, 4, folder), tiny_float32)
    session.digest = "0" * 64
    return session


@pytest.mark.parametrize(("call", "status", "reason"), ENDS)
def test_only_a_test_that_came_to_its_end_passes_or_fails(
    call: Callable[[], int], status: Status, reason: str, session: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stress, "unfit", lambda *_arguments: None)
    monkeypatch.setattr(stress, "detect", lambda device: detect(device, call))
    outcome = stress.check(session)
    assert (outcome.status, reason in str(outcome.reason)) == (status, True), outcome.reason
    assert bool(outcome.figures) is (status is not Status.SKIP)


def test_memory_errors_of_the_card_meanwhile_fail(session: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(device: Any) -> Watch:
        return Watch(Device("npu", 0, "npu:0"), every_s=60, find=lambda device: Fake())

    monkeypatch.setattr(stress, "unfit", lambda *_arguments: None)
    monkeypatch.setattr(stress, "detect", lambda device: Ran(0, "", ""))
    monkeypatch.setattr(stress, "Watch", watch)
    outcome = stress.check(session)
    assert outcome.status is Status.FAIL
    assert "double-bit errors" in str(outcome.reason)


def test_what_was_printed_is_printed_still(capfd: pytest.CaptureFixture[str]) -> None:
    ran = detect(Device("npu", 0, "npu:0"), ending(2, MALFUNCTION))
    assert (ran.code, MALFUNCTION in ran.printed, why_not(ran)) == (574006, True, MALFUNCTION)
    assert MALFUNCTION in capfd.readouterr().err


def test_another_error_of_the_runtime_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        detect(Device("npu", 0, "npu:0"), ending(None, raised="something else"))
