"""What the appendix on planted faults says: totals, families, what was missed, and runs without a fault."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from verify.report.campaign import Campaign, CleanOutcome, FaultOutcome
from verify.run.records import Run


def share(part: int, whole: int) -> str:
    """`part` of `whole` with its percentage, rounded down: what is not all must not read as 100 %."""
    return f"{part} / {whole} ({math.floor(1000 * part / whole) / 10:.1f}%)" if whole else f"{part} / {whole}"


def place(on: str, emulated: bool) -> str:
    return f"{on} (EMULATED)" if emulated else on


def often(names: Iterable[str | None]) -> list[tuple[str | None, int]]:
    """Names with how often each stands there, the most frequent first."""
    return sorted(Counter(names).items(), key=lambda item: (-item[1], item[0] or ""))


@dataclass(frozen=True)
class Family:
    """Faults of one family on one kind of device."""

    name: str
    place: str
    faults: tuple[FaultOutcome, ...]

    @property
    def beyond(self) -> int:
        return sum(fault.beyond_noise is True for fault in self.faults)

    @property
    def others(self) -> int:
        """Those that have to be caught though nothing says how far they move an output."""
        return sum(fault.counts and not fault.beyond_noise for fault in self.faults)

    @property
    def found(self) -> str:
        """How many of those that have to be caught were."""
        return share(sum(fault.caught and fault.counts for fault in self.faults), self.beyond + self.others)

    @property
    def caught(self) -> list[FaultOutcome]:
        """Every fault that was caught, those within the noise too: what saw it, and when, is told of all of them."""
        return [fault for fault in self.faults if fault.caught]

    @property
    def levels(self) -> list[int]:
        return sorted({fault.level for fault in self.caught if fault.level is not None})

    @property
    def checks(self) -> list[tuple[str | None, int]]:
        return often(fault.check for fault in self.caught)

    @property
    def named(self) -> str | None:
        """How many of the caught faults of a single layer had that layer named; None where there is none."""
        layered = [fault for fault in self.caught if fault.layer is not None]
        return share(sum(fault.named is True for fault in layered), len(layered)) if layered else None

    @property
    def seconds(self) -> tuple[float, float] | None:
        """Median and worst time until the fault was seen."""
        taken = [fault.seconds for fault in self.caught if fault.seconds is not None]
        return (median(taken), max(taken)) if taken else None


@dataclass(frozen=True)
class CleanRuns:
    """Runs without a fault of one model in one dtype on one kind of device."""

    model: str
    dtype: str
    on: str
    runs: tuple[CleanOutcome, ...]

    @property
    def checks(self) -> int:
        return sum(run.checks for run in self.runs)

    @property
    def alarmed(self) -> int:
        return sum(bool(run.alarms) for run in self.runs)

    @property
    def alarms(self) -> list[tuple[str | None, int]]:
        return often(name for run in self.runs for name in run.alarms)


@dataclass(frozen=True)
class Appendix:
    """A campaign as the section's template sees it, beside the run whose document it ends."""

    campaign: Campaign
    run: Run | None

    @property
    def places(self) -> list[tuple[str | None, int]]:
        """On what the faults were planted, with how many."""
        return often(place(fault.on, fault.emulated) for fault in self.campaign.faults)

    @property
    def emulated(self) -> bool:
        return any(fault.emulated for fault in self.campaign.faults)

    @property
    def no_hardware(self) -> bool:
        """Whether no real NPU took part: the document says so before any figure. Of clean runs on an NPU nothing says
        whether it was emulated; they ran where the faults did.
        """
        faulty = any(fault.on == "npu" and not fault.emulated for fault in self.campaign.faults)
        clean = any(run.on == "npu" for run in self.campaign.clean) and not self.emulated
        return not (faulty or clean)

    @property
    def other_code(self) -> bool:
        """Whether the checks that were tried may be others than this run's: another commit, or an unknown one."""
        tried = self.campaign.project.commit
        return tried is None or self.run is None or self.run.project.get("commit") != tried

    @property
    def families(self) -> list[Family]:
        groups: dict[tuple[str, str], list[FaultOutcome]] = {}
        for fault in self.campaign.faults:
            groups.setdefault((fault.family, place(fault.on, fault.emulated)), []).append(fault)
        return [Family(name, where, tuple(faults)) for (name, where), faults in groups.items()]

    @property
    def others(self) -> list[FaultOutcome]:
        """Those that have to be caught though nothing says how far they move an output: events and crashes."""
        return [fault for fault in self.campaign.faults if fault.counts and not fault.beyond_noise]

    @property
    def within(self) -> list[FaultOutcome]:
        return [fault for fault in self.campaign.faults if not fault.counts]

    @property
    def missed(self) -> list[FaultOutcome]:
        """Faults that had to be caught and were not. One whose effect nobody could measure is not excused."""
        return [fault for fault in self.campaign.faults if fault.counts and not fault.caught]

    @property
    def lost(self) -> list[FaultOutcome]:
        """Events after which records, documents or a verdict other than a pass are lacking."""
        return [fault for fault in self.campaign.faults if fault.sort == "event" and not fault.ended]

    @property
    def clean(self) -> list[CleanRuns]:
        groups: dict[tuple[str, str, str], list[CleanOutcome]] = {}
        for run in self.campaign.clean:
            groups.setdefault((run.model, run.dtype, run.on), []).append(run)
        return [CleanRuns(*key, tuple(runs)) for key, runs in groups.items()]

    @property
    def alarms(self) -> list[CleanOutcome]:
        return [run for run in self.campaign.clean if run.alarms]
