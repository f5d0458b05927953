"""The links between a machine's cards by the vendor's own hccl_test, on request, beside our all-reduce (links.py)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from env import hccl_test, npu_emulator
from env.ascend_dmi import HOME
from env.device_name import DeviceName
from env.language import Message, _
from env.runner import Runner, run
from verify.links import SIZES
from verify.run.card import busy, logic_id
from verify.run.cards import HcclRow, HcclTest

LIMIT_S = 900.0
MPI_HOME = Path("/usr/local")


def measure(
    cards: Sequence[DeviceName],
    runner: Runner = run,
    environ: Mapping[str, str] = os.environ,
    home: Path = HOME,
    mpi_home: Path = MPI_HOME,
) -> HcclTest:
    """All-reduces over the cards in our own sizes; what kept the tool from saying anything is said."""
    program, mpirun = hccl_test.find_program(home), hccl_test.find_mpirun(mpi_home)
    reason = _unfit(cards, runner, environ)
    if reason is None and program is None:
        reason = _("hccl_test is not in {places}", places=str(home))
    if reason is None and mpirun is None:
        reason = _("mpirun is not in {places}", places=", ".join(str(mpi_home / place) for place in hccl_test.MPI))
    if reason is not None or program is None or mpirun is None:
        return HcclTest(rows=[], unread=reason)
    numbers = [logic_id(card.index, environ) for card in cards]
    sizes = (SIZES[0], SIZES[-1])
    command = hccl_test.command(mpirun, program, len(cards), sizes, SIZES[1] // SIZES[0])
    done = runner(command, timeout=LIMIT_S, environ=hccl_test.environment(numbers, environ))
    share = 2 * (len(cards) - 1) / len(cards)  # its rate is bytes over time; ours that of the bus
    rows = [HcclRow(bytes=row.bytes, gb_s=row.gb_s * share, word=row.word) for row in hccl_test.parse(done.stdout)]
    if done.ok and rows:
        return HcclTest(rows=rows)
    text = (done.stderr or done.stdout).strip().splitlines()[:1] or [f"exit status {done.returncode}"]
    why = _("no row in hccl_test's answer") if done.ok else _("hccl_test did not end well: {text}", text=text[0][:200])
    return HcclTest(rows=rows, unread=why)


def _unfit(cards: Sequence[DeviceName], runner: Runner, environ: Mapping[str, str]) -> Message | None:
    if any(card.kind != "npu" for card in cards):
        return _("the vendor's tools are those of NPUs, and this is {device}", device=cards[0].label)
    if environ.get(npu_emulator.VARIABLE):
        return _("emulated cards have no HCCL")
    return busy(runner)
