"""The vendor's own test for silent errors, on request: torch_npu.npu.stress_detect, at level 4 with --stress-detect.

It changes the voltage of the AI cores and compares what they compute (op-plugin, torch_npu-npu-stress_detect.md), so
it wants the machine to itself. What did not run is a skip with its reason, never a pass.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from env.chips import chip_of_soc
from env.language import Message, _
from env.runner import Runner, run
from model.device import Device, runtime_errors
from verify.run.card import Watch, busy
from verify.run.figures.stress import StressFigures
from verify.run.judgement import of_stress
from verify.run.records import Outcome, failed, passed, skipped
from verify.run.verification import Verification

WORKSPACE_BYTES = 10 * 2**30  # that torch-npu brings for it (Stress_detect.cpp, perform_stress_detect)
PRODUCTS = ("ascend910b", "ascend910_93")  # Atlas A2 and A3, by their kernels; of others the vendor says nothing
FAULTY = 2  # kDetectFailedWithHardwareFailure; 0 passed, 1 did not run for whatever reason
VOLTAGE = "Voltage recovery failed"  # 574007, which torch-npu raises
CODE = re.compile(r"error (?:code )?is (\d+)|Error code is (\d+)", re.IGNORECASE)
TOLD = re.compile(r"(Stress detect\b[^\n]*?)\s*(?:\(function \w+\)\s*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """What the test came to: its return value, or the error that it raised, and what it printed."""

    returned: int | None
    raised: str
    printed: str

    @property
    def code(self) -> int | None:
        """CANN's own code, where torch-npu tells it."""
        match = CODE.search(self.raised or self.printed)
        return int(match[1] or match[2]) if match else None


def check(session: Verification, runner: Runner = run) -> Outcome:
    """No wrong bit under the vendor's stress; a skip where the test does not run here, or did not come to an end."""
    device = session.device
    if reason := unfit(device, runner):
        return skipped(reason)
    with Watch(device) as watch:
        started = time.perf_counter()
        ran = detect(device)
        seconds = time.perf_counter() - started
    if ran.returned not in (0, FAULTY) and not ran.raised:
        return skipped(_("the vendor's test did not run: {why}", why=why_not(ran)))
    figures = StressFigures(
        mode="aic",
        result="voltage" if ran.raised else "faulty" if ran.returned == FAULTY else "passed",
        code=ran.code,
        seconds=seconds,
        workspace_bytes=WORKSPACE_BYTES,
        printed=ran.printed,
        card=watch.figures,
    )
    signature = session.signature()
    if problems := of_stress(figures):
        return failed(problems, figures, signature)
    return passed(_("no silent error in {seconds:.0f} s of the vendor's test", seconds=seconds), figures, signature)


def unfit(device: Device, runner: Runner) -> Message | None:
    """Why the test must not run on this device now; None where nothing speaks against it."""
    if device.kind != "npu":
        return _("the vendor's test is one of NPUs, and this is {device}", device=device.label)
    chip = chip_of_soc(device.name)
    if chip is None or chip.kernels not in PRODUCTS:
        return _("the vendor's test is for Atlas A2 and A3, and this is {chip}", chip=device.name)
    device.empty_cache()
    used, total = device.used_memory(), device.total_memory_bytes
    free = (total or 0) - (used or 0)
    if free < WORKSPACE_BYTES:
        return _(
            "the vendor's test needs {needed:.0f} GiB of the card's memory, and {free:.1f} are free",
            needed=WORKSPACE_BYTES / 2**30,
            free=free / 2**30,
        )
    return busy(runner)


def detect(device: Device, call: Callable[[], int] | None = None) -> Ran:
    """Run the test on the current device.

    Raises:
        DeviceError, OutOfMemoryError: the device failed in another way than the test's own.
    """
    printed = tempfile.TemporaryFile(mode="w+b")  # noqa: SIM115 (closed below, when it is read)
    returned, raised = None, ""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        os.dup2(printed.fileno(), 2)  # torch-npu says why in C++, on the process's own standard error
        with runtime_errors(device, _("testing for silent errors")):
            try:
                returned = (call or _stress_detect)()
            except RuntimeError as error:
                if VOLTAGE not in str(error):
                    raise
                raised = str(error)
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        with printed:
            printed.seek(0)
            text = printed.read().decode("utf-8", "replace")
        with suppress(OSError):
            os.write(2, text.encode())  # the worker's log has it too
    return Ran(returned, raised, text.strip())


def _stress_detect() -> int:
    import torch

    api: Any = torch
    return int(api.npu.stress_detect("aic"))


def why_not(ran: Ran) -> str:
    """What torch-npu says of a test that it did not run to its end."""
    told = TOLD.findall(ran.printed)
    return told[-1] if told else _("it returned {value}", value=str(ran.returned))
