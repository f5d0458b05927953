"""The vendor's own tools, on request: ascend-dmi's diagnosis, bandwidth and arithmetic rates beside our own floors.

They disturb every other job of the card, so they run with --vendor-diagnosis only. What they skip, do not know or could
not test is none of what passes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from env import ascend_dmi
from env.ascend_dmi import Rate, UnreadableError
from env.language import Message, _, joined
from env.runner import Completed, Runner, run
from verify.checks.benchmark import QUICK_FLOOR_SECONDS, measure_floors
from verify.reference import copies
from verify.reference.figures import CopyFigures
from verify.run.card import busy, logic_id
from verify.run.figures.benchmark import FloorsFigures
from verify.run.figures.vendor import VendorFigures, VendorItemFigures, VendorRateFigures
from verify.run.records import Outcome, failed, passed, skipped
from verify.run.vendor import contradictions, of_vendor, untested, vendor_passed
from verify.run.verification import Verification

T = TypeVar("T")

JSON = ("-q", "--fmt", "json")
COPY = ("-s", str(512 * 2**20), "--et", "50")  # of d2d the tool has a size of its own (FlagPerf, Ascend A3)
DIRECTIONS = {"h2d": COPY, "d2h": COPY, "d2d": ()}
DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
SOFTWARE, CARD = "driver,cann", "device,hbm,bandwidth,aiflops"  # of the machine, and of one card of it
RATE_S, DIAGNOSIS_S = 300.0, 1200.0  # aiflops takes a minute, bandwidth and hbm minutes (ToolBox user guide)


def check(session: Verification, runner: Runner = run, home: Path = ascend_dmi.HOME) -> Outcome:
    """No item of the vendor's diagnosis is bad; a skip where its tools are not here, or tested nothing."""
    device = session.device
    if device.kind != "npu":
        return skipped(_("the vendor's tools are those of NPUs, and this is {device}", device=device.label))
    tool = ascend_dmi.find_dmi(home)
    if tool is None:
        return skipped(_("ascend-dmi is not in {places}", places=str(home / "toolbox")))
    if reason := busy(runner):
        return skipped(reason)
    loaded = session.model
    ours = Ours(
        floors=measure_floors(device, loaded.dtype, QUICK_FLOOR_SECONDS),
        copied=copies.measure(device, copies.SIZES[-1:], copies.FULL_S),
        dtype=loaded.dtype,
    )
    device.empty_cache()
    figures = measure(Dmi(tool, logic_id(device.index), runner, home), ours)
    signature = session.signature()
    if problems := of_vendor(figures):
        return failed(problems, figures, signature)
    remarks = [*untested(figures), *contradictions(figures)]
    good = vendor_passed(figures)
    if not good and not figures.rates:
        return skipped(joined(_("the vendor's tools tested nothing"), *remarks))
    reason = _("{good} items of the vendor's diagnosis passed, {rates} rates read", good=good, rates=len(figures.rates))
    return passed(joined(reason, *remarks), figures, signature)


class Ours:
    """What we measure of the same card in the same minute, under the vendor's names."""

    def __init__(self, floors: FloorsFigures, copied: Sequence[CopyFigures], dtype: str) -> None:
        self.dtype = DTYPES[dtype]
        self._rates = {
            "h2d": copies.rate(copied, "h2d"),
            "d2h": copies.rate(copied, "d2h"),
            "d2d": floors.read_gb_s,  # theirs is of reading the card's memory (ToolBox user guide, --bw)
            self.dtype: floors.gemm_gflop_s / 1e3,
        }

    def rate(self, name: str) -> float | None:
        return self._rates.get(name)


class Dmi:
    """The tool on one card, which it calls by the machine's own number."""

    def __init__(self, tool: Path, card: str, runner: Runner, home: Path) -> None:
        self.tool, self._card, self._runner = tool, card, runner
        self._environ = ascend_dmi.environment(tool, os.environ, home)

    def __call__(self, *words: str, card: bool = True, timeout: float = RATE_S) -> str:
        """What it prints. Raises: UnreadableError, where it fails or does not end."""
        which = ("-d", self._card) if card else ()
        done: Completed = self._runner((str(self.tool), *words, *which, *JSON), timeout=timeout, environ=self._environ)
        if not done.ok and "{" not in done.stdout:  # a diagnosis that found something may end with another status
            text = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
            raise UnreadableError(text.splitlines()[0][:200])
        return done.stdout


def measure(dmi: Dmi, ours: Ours) -> VendorFigures:
    """Ask for everything; what is not answered says why."""
    unread: dict[str, Message] = {}

    def ask(name: str, read: Callable[[], T]) -> T | None:
        print(f"ascend-dmi: {name}", flush=True)
        try:
            return read()
        except UnreadableError as error:
            unread[name] = Message(ascend_dmi.why(error))
            return None

    software = ask(SOFTWARE, lambda: ascend_dmi.diagnosis(dmi("--dg", "-i", SOFTWARE, card=False)))
    hardware = ask(CARD, lambda: ascend_dmi.diagnosis(dmi("--dg", "-i", CARD, timeout=DIAGNOSIS_S)))
    items = [*(software or []), *(hardware or [])]
    readers: dict[str, Callable[[], Rate]] = {name: partial(_bandwidth, dmi, name) for name in DIRECTIONS}
    readers[ours.dtype] = partial(_flops, dmi, ours.dtype)
    rates = {name: rate for name, read in readers.items() if (rate := ask(name, read)) is not None}
    return VendorFigures(
        tool=str(dmi.tool),
        items=[VendorItemFigures(name=item.name, word=item.word, text=item.text) for item in items],
        rates=[
            VendorRateFigures(
                name=name,
                unit="GB/s" if name in DIRECTIONS else "TFLOPS",
                theirs=rate.value,
                dies=rate.dies,
                ours=ours.rate(name),
            )
            for name, rate in rates.items()
        ],
        unread=unread,
    )


def _bandwidth(dmi: Dmi, direction: str) -> Rate:
    return ascend_dmi.bandwidth(dmi("--bw", "-t", direction, *DIRECTIONS[direction]))


def _flops(dmi: Dmi, dtype: str) -> Rate:
    return ascend_dmi.flops(dmi("-f", "-t", dtype), dtype)
