"""Several cards of one machine, each verified by itself at the same time, and what that says of the machine.

    nox -s verify report -- --device npu:all

Each card is a run of its own, in a folder of its own under the machine's, with workers that see all cards and use one.
Where there are fewer cores than cards some wait: a check's time limit is meant for a reference with a core of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from env import npu_emulator
from env.atomic import write_json
from env.device_name import DeviceName
from env.errors import INTERRUPTED, DeviceError
from env.language import _, translate, user_language
from env.options import DEVICE, RUN, VENDOR_DIAGNOSIS, without
from env.stack import ROOT
from model import threads
from verify import hccl, links
from verify.run.cards import CARDS_FILE, LINKS_FILE, Cards, Links, evidence_of, machine
from verify.run.plan import FULL_LEVEL
from verify.run.verdict import exit_code, judge

COUNTING_S = 300.0  # torch and torch_npu from a cold disk
COUNT = """\
import sys
from model.device import resolve
kind = resolve(sys.argv[1]).kind
import torch
print("cards:", getattr(torch, kind).device_count())
"""


def verify(options: argparse.Namespace, arguments: Sequence[str], folder: Path, python: Path, command: str) -> int:
    """Verify every card that --device names; print each verdict and the machine's; return its exit code.

    Raises:
        DeviceError: the runtime does not say how many cards there are.
        StorageError: the list of cards cannot be written.
    """
    name = DeviceName.parse(options.device)
    names = [name.card(index) for index in (name.indexes or range(count(name, python)))]
    at_once = min(len(names), threads.cores())
    cards = Cards(
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=options.device,
        cards={card.label: card.label.replace(":", "-") for card in names},
        command=command,
        at_once=at_once,
    )
    if at_once < len(names):
        print(translate(_("{n} of {count} cards at a time: there are {n} cores", n=at_once, count=len(names))))
    write_json(folder / CARDS_FILE, msgspec.to_builtins(cards))
    shared = without(arguments, (DEVICE, RUN, VENDOR_DIAGNOSIS))  # whose tools want the machine to themselves
    interrupted = run_all(
        {
            label: [sys.executable, "-m", "verify", *shared, "--device", label, "--run", str(folder / run)]
            for label, run in cards.cards.items()
        },
        at_once,
    )
    if options.level >= FULL_LEVEL and not options.check and len(names) > 1 and not interrupted:
        figures = _links(list(cards.cards), python, folder)
        if options.vendor_diagnosis:
            figures = msgspec.structs.replace(figures, hccl_test=hccl.measure(names))
        write_json(folder / LINKS_FILE, msgspec.to_builtins(figures))
    print()
    for label, evidence in evidence_of(folder, cards):
        print(translate(_("{card}: {verdict}", card=label, verdict=judge(evidence).line(user_language()))))
    word, line = machine(folder, cards)
    print(translate(_("machine: {line}", line=line)))
    return INTERRUPTED if interrupted else exit_code(word)


def _links(labels: list[str], python: Path, folder: Path) -> Links:
    """The cards joined; emulated ones have no links, only the host's memory."""
    if os.environ.get(npu_emulator.VARIABLE):
        return Links(backend="", cards=labels, rows=[], problem=None, skipped=_("emulated cards have no links"))
    return links.measure(labels, python, folder)


def count(name: DeviceName, python: Path) -> int:
    """How many cards of a kind the environment's runtime finds.

    Raises:
        DeviceError: none, or it does not say.
    """
    done = subprocess.run(
        [str(python), "-c", COUNT, name.card(0).label],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COUNTING_S,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("cards: "):
            return int(line.removeprefix("cards: "))
    raise DeviceError(
        _("{device}: the cards cannot be counted", device=str(name)),
        why=(done.stderr.strip().splitlines() or [""])[-1],
        next=_("--device {kind}:0,1 names them", kind=str(name.kind)),
    )


def run_all(commands: dict[str, list[str]], at_once: int) -> bool:
    """Run all, so many at a time, each line of theirs behind the card's name. Whether the user interrupted them: no
    further one is then started.
    """
    children: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(at_once) as pool, _passed_on(children) as received:

        def run(label: str, command: list[str]) -> None:
            if received:
                return
            child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            children.append(child)
            for number in received:  # it came between the two lines above
                child.send_signal(number)
            assert child.stdout is not None
            with child, child.stdout:
                for line in child.stdout:
                    show(label, line.rstrip())

        for ended in [pool.submit(run, label, command) for label, command in commands.items()]:
            ended.result()
    return bool(received)


def show(label: str, line: str) -> None:
    print(f"{label} | {line}", flush=True)


@contextlib.contextmanager
def _passed_on(children: Collection[subprocess.Popen[str]]) -> Iterator[list[int]]:
    """SIGINT and SIGTERM go to every child, which records the interruption and ends; the list holds those that came."""
    received: list[int] = []

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        for child in list(children):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
