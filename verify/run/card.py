"""What the card's own tool says while a check runs: utilisation, clock, power, temperature, memory, memory errors.

The vendor's fault diagnosis asks the same of npu-smi during a job (MindCluster, "npu-smi info -t common -i ID", every
15 seconds); a slow-down without its clock and temperature says little, and a double-bit error explains any wrong value.
"""

from __future__ import annotations

import csv
import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Protocol

from env.language import Message, _
from env.npu_smi import Chip, Process, parse
from env.runner import Completed, Runner, run
from model.device import Device
from verify.run.figures.card import CardFigures, CardSample, ErrorCounts, SpreadFigures

EVERY_S = 5.0
PATIENCE_S = 20.0  # a loaded host with many dies takes seconds to answer
QUANTITIES = ("busy", "mhz", "power_w", "temp_c", "memory")
HOT_AND_SLOW = 0.03  # of the clock: below, it is the reading's own jitter
LISTED = 2000  # samples of a record: three hours of them


class UnreadError(Exception):
    """The tool did not answer; the message says what it printed."""


class Card(Protocol):
    """One card as its tool knows it."""

    tool: str
    name: str

    def sample(self) -> dict[str, float | None]:
        """The quantities now. Raises: UnreadError."""

    def errors(self) -> ErrorCounts | None:
        """The counters of memory errors; None where it keeps none. Raises: UnreadError."""


class Npu:
    """An NPU, by npu-smi. `index` is torch's: a place among ASCEND_RT_VISIBLE_DEVICES where that is set."""

    tool = "npu-smi"

    def __init__(self, index: int, runner: Runner = run, environ: Mapping[str, str] = os.environ) -> None:
        self._runner = runner
        self._options = ("-i", *_npu_and_chip(index, runner, environ))
        self.name = " ".join(self._options)
        self._chip = int(self._options[-1])

    def sample(self) -> dict[str, float | None]:
        chip = self._ask("common")
        return {
            "busy": _share(chip.aicore_pct),
            "mhz": _number(chip.other.get("Aicore curFreq(MHZ)", chip.other.get("Aicore Freq(MHZ)"))),
            "power_w": chip.power_w,
            "temp_c": chip.temp_c,
            "memory": _share(_number(chip.other.get("HBM Usage Rate(%)", chip.other.get("Memory Usage Rate(%)")))),
        }

    def errors(self) -> ErrorCounts | None:
        labels = self._ask("ecc").other
        if not any("Bit" in label for label in labels):
            return None
        return ErrorCounts(
            single_bit=_total(labels, "Single Bit Error Count"),
            double_bit=_total(labels, "Double Bit Error Count"),
            isolated_pages=_total(labels, "Bit Isolated Pages Count"),
        )

    def _ask(self, topic: str) -> Chip:
        done = _answer(self._runner(("npu-smi", "info", "-t", topic, *self._options), timeout=PATIENCE_S))
        reading = parse(done.stdout)
        chips = [chip for chip in reading.chips if chip.chip in (None, self._chip)]
        if reading.error or not chips:
            raise UnreadError(reading.error or f"npu-smi info -t {topic}: no chip in its answer")
        return chips[0]


class Gpu:
    """A GPU, by nvidia-smi and its uuid, which no visible-device list renumbers."""

    tool = "nvidia-smi"
    FIELDS = ("utilization.gpu", "clocks.sm", "power.draw", "temperature.gpu", "memory.used", "memory.total")
    COUNTERS = (
        "ecc.errors.corrected.volatile.total",
        "ecc.errors.uncorrected.volatile.total",
        "retired_pages.double_bit.count",
    )

    def __init__(self, uuid: str, runner: Runner = run) -> None:
        self._runner = runner
        self.name = f"-i GPU-{uuid.removeprefix('GPU-')}"

    def sample(self) -> dict[str, float | None]:
        busy, mhz, power, temperature, used, total = map(_number, self._ask(self.FIELDS))
        memory = used / total if used is not None and total else None
        return {"busy": _share(busy), "mhz": mhz, "power_w": power, "temp_c": temperature, "memory": memory}

    def errors(self) -> ErrorCounts | None:
        corrected, uncorrected, pages = (_count(text) for text in self._ask(self.COUNTERS))
        if corrected is None or uncorrected is None:
            return None
        return ErrorCounts(single_bit=corrected, double_bit=uncorrected, isolated_pages=pages or 0)

    def _ask(self, fields: tuple[str, ...]) -> list[str]:
        query = (f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
        done = _answer(self._runner(("nvidia-smi", *self.name.split(), *query), timeout=PATIENCE_S))
        row = next(csv.reader(done.stdout.splitlines(), skipinitialspace=True), [])
        if len(row) != len(fields):
            raise UnreadError(f"nvidia-smi: {done.stdout.strip()[:200]}")
        return row


def card_of(device: Device, runner: Runner = run) -> Card | None:
    """The card that a device is; None of a CPU.

    Raises:
        UnreadError: the tool does not say which it is.
    """
    if device.kind == "npu":
        return Npu(device.index or 0, runner)
    if device.kind == "cuda":
        import torch

        return Gpu(str(torch.cuda.get_device_properties(device.index or 0).uuid), runner)
    return None


class Watch:
    """Ask a device's card every few seconds, in a thread, while the body of the `with` runs.

    Nothing that the tool does or does not say ends the body: `figures` tells why there is nothing.
    """

    def __init__(
        self,
        device: Device,
        *,
        every_s: float = EVERY_S,
        find: Callable[[Device], Card | None] = card_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device, self._every_s, self._find, self._clock = device, every_s, find, clock
        self._card: Card | None = None
        self._samples: list[CardSample] = []
        self._before: ErrorCounts | None = None
        self._after: ErrorCounts | None = None
        self._unread: str | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="card", daemon=True)

    def __enter__(self) -> Watch:
        self._started = self._clock()
        try:
            self._card = self._find(self._device)
            if self._card is not None:
                self._before = self._card.errors()
        except UnreadError as error:
            self._unread = str(error)
        if self._card is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._card is None:
            return
        self._over.set()
        self._thread.join()
        if kind is None:
            try:
                self._sample(self._card)
                self._after = self._card.errors()
            except UnreadError as unread:
                self._unread = str(unread)

    def _loop(self) -> None:
        assert self._card is not None
        while True:
            try:
                self._sample(self._card)
            except UnreadError as error:
                self._unread = str(error)
            if self._over.wait(self._every_s):
                return

    def _sample(self, card: Card) -> None:
        values = card.sample()
        if len(self._samples) < LISTED:
            self._samples.append(CardSample(at_s=self._clock() - self._started, **values))

    @property
    def figures(self) -> CardFigures | None:
        """What was seen; None where there is no card to ask."""
        if self._device.kind == "cpu":
            return None
        return CardFigures(
            tool=Npu.tool if self._device.kind == "npu" else Gpu.tool,
            card="" if self._card is None else self._card.name,
            every_s=self._every_s,
            samples=self._samples,
            spread={name: spread for name in QUANTITIES if (spread := _spread(self._samples, name)) is not None},
            errors_before=self._before,
            errors_after=self._after,
            unread=self._unread,
        )


def slowed(figures: CardFigures | None) -> Message | None:
    """What to say beside a slow-down: how clock and temperature went meanwhile. None where the clock held."""
    mhz = None if figures is None else figures.spread.get("mhz")
    if figures is None or mhz is None or mhz.first <= 0 or mhz.last >= (1 - HOT_AND_SLOW) * mhz.first:
        return None
    temperature = figures.spread.get("temp_c")
    if temperature is None:
        return _("the clock fell from {first:.0f} to {last:.0f} MHz", first=mhz.first, last=mhz.last)
    return _(
        "the clock fell from {first:.0f} to {last:.0f} MHz at {temperature:.0f} C",
        first=mhz.first,
        last=mhz.last,
        temperature=temperature.last,
    )


def _spread(samples: list[CardSample], name: str) -> SpreadFigures | None:
    values = [value for sample in samples if (value := getattr(sample, name)) is not None]
    if not values:
        return None
    part = max(1, len(values) // 5)
    return SpreadFigures(
        least=min(values),
        median=statistics.median(values),
        most=max(values),
        first=statistics.median(values[:part]),
        last=statistics.median(values[-part:]),
    )


def busy(runner: Runner = run) -> Message | None:
    """Whether another process is on an NPU of this machine, as far as npu-smi shows; None where none is."""
    others = strangers(parse(runner(("npu-smi", "info"), timeout=PATIENCE_S).stdout).processes)
    if not others:
        return None
    return _(
        "the vendor's tools want the machine to themselves, and process {pid} is on NPU {npu}",
        pid=others[0].pid,
        npu=others[0].npu,
    )


def strangers(processes: Collection[Process], own: int | None = None) -> list[Process]:
    """The processes that are not this one. In a container npu-smi may list it under the host's number for it, which is
    not known here: where its own is not listed, a single process is taken for it.
    """
    mine = os.getpid() if own is None else own
    others = [process for process in processes if process.pid != mine]
    return [] if len(others) == len(processes) == 1 else others


def logic_id(index: int, environ: Mapping[str, str] = os.environ) -> str:
    """The machine's own number for torch's device, which ASCEND_RT_VISIBLE_DEVICES renumbers."""
    visible = [part.strip() for part in environ.get("ASCEND_RT_VISIBLE_DEVICES", "").split(",") if part.strip()]
    return visible[index] if index < len(visible) else str(index)


def _npu_and_chip(index: int, runner: Runner, environ: Mapping[str, str]) -> tuple[str, str, str]:
    """npu-smi's options for torch's device, by the map that `npu-smi info -m` prints."""
    logic = logic_id(index, environ)
    done = _answer(runner(("npu-smi", "info", "-m"), timeout=PATIENCE_S))
    chips = [chip for chip in parse(done.stdout).chips if chip.npu is not None and chip.name != "Mcu"]
    for place, chip in enumerate(chips):
        if chip.other.get("Chip Logic ID", str(place)) == logic:  # 950's map has no logic ID, and lists them in order
            return str(chip.npu), "-c", str(chip.chip or 0)
    raise UnreadError(f"npu-smi info -m: no chip with logic ID {logic}")


def _answer(done: Completed) -> Completed:
    if not done.ok:
        text = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise UnreadError(text.splitlines()[0][:200])
    return done


def _number(text: str | None) -> float | None:
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*", text or "")
    return float(match[1]) if match else None


def _count(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _share(percent: float | None) -> float | None:
    return None if percent is None or not 0 <= percent <= 100 else percent / 100


def _total(labels: Mapping[str, str], part: str) -> int:
    """The sum over DDR and HBM of the counters whose labels hold `part`; what npu-smi does not count says NA."""
    return sum(_count(text) or 0 for label, text in labels.items() if part in label)
