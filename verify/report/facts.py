"""A run's evidence as templates look it up. A figure that no record holds is None here and "not recorded" there."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from verify.run.plan import CHECKS, COMPONENTS
from verify.run.records import Evidence, Record, Status
from verify.run.verdict import Judged, Verdict

DEPTH = 6  # of nested mappings that `figures` goes into


def pick(value: object, *path: str) -> Any:
    """The value under nested keys, or None where a key is missing or something else than a mapping is on the way."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) and isinstance(key, str) else None
    return value


def is_scalar(value: object) -> bool:
    return not isinstance(value, (Mapping, list, tuple))


def figures(value: object, prefix: str = "", depth: int = DEPTH) -> Iterator[tuple[str, object]]:
    """The scalars of nested mappings with dotted names, in stored order; of a list of tables, how many it holds."""
    if isinstance(value, Mapping):
        for key, inner in value.items() if depth else ():
            yield from figures(inner, f"{prefix}.{key}" if prefix else str(key), depth - 1)
    elif isinstance(value, (list, tuple)) and not all(map(is_scalar, value)):
        yield f"{prefix} (n)", len(value)
    elif value is not None:
        yield prefix, value


def number(value: object, spec: str) -> str | None:
    """`value` formatted as a float, or None where it is not a finite number (JSON's true is none)."""
    try:
        finite = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
        return format(value, spec) if finite else None
    except OverflowError:  # JSON's integers have no bound
        return None


def worst(values: object) -> object:
    """The largest of a list of figures; None where one is no number: what is missing is worse than any figure."""
    numbers = values if isinstance(values, list) else []
    return max(numbers, default=None) if all(number(value, "f") is not None for value in numbers) else None


def size(value: object) -> str | None:
    """Bytes in GiB, or in MiB below one."""
    if number(value, "f") is None:
        return None
    count = float(value)  # type: ignore[arg-type]
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


@dataclass(frozen=True)
class Accuracy:
    """One component's row: what `shapes`, `parity` and `determinism` say of it, joined.

    `lacking` is the check without which nothing is known, and `status` then what became of that check; None where it
    ran and says nothing of this component.
    """

    name: str
    status: Status | None
    lacking: str | None
    shape: Mapping[str, Any]
    parity: Mapping[str, Any]
    repeat: Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """The evidence of one run with its verdict, as templates see it."""

    evidence: Evidence
    verdict: Verdict

    def record(self, check: str) -> Record | None:
        return self.evidence.records.get(check)

    def of(self, check: str, *path: str) -> Any:
        """A figure of a check's data, or None. "setup" is the setup's."""
        if check == "setup":
            return pick(self.evidence.setup, "data", *path)
        record = self.record(check)
        return pick(record.data, *path) if record else None

    @property
    def card(self) -> Mapping[str, Any]:
        """Which card of the machine the device check ran on; nothing where it says none."""
        record = self.record("device")
        return (record.card if record else None) or {}

    @property
    def cpu_fallback(self) -> list[str]:
        """The operators that any check's worker ran on the host in place of the device."""
        return sorted({name for record in self.evidence.records.values() for name in record.cpu_fallback})

    def rows(self, check: str, *path: str) -> list[Mapping[str, Any]]:
        """A list of mappings in a check's data; what else is in the list is left out."""
        value = self.of(check, *path)
        return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []

    def named(self, check: str, *path: str) -> list[tuple[str, Mapping[str, Any]]]:
        """A mapping of mappings in a check's data, as pairs in stored order."""
        value = self.of(check, *path)
        return [(n, row) for n, row in value.items() if isinstance(row, Mapping)] if isinstance(value, Mapping) else []

    def figures(self, check: str, *path: str) -> list[tuple[str, object]]:
        return list(figures(self.of(check, *path)))

    def taken_with(self, check: str, *path: str) -> Any:
        """An entry of a check's signature, or None."""
        record = self.record(check)
        return pick(record.signature, *path) if record else None

    @property
    def signatures(self) -> list[tuple[Mapping[str, Any], list[str]]]:
        """The distinct signatures of the run, each with the checks whose figures were taken with it."""
        distinct: list[tuple[Mapping[str, Any], list[str]]] = []
        for judged in self.verdict.checks:
            record = self.record(judged.check)
            if record and record.signature:
                same = next((checks for signature, checks in distinct if signature == record.signature), None)
                if same is None:
                    distinct.append((record.signature, same := []))
                same.append(judged.check)
        return distinct

    def signature(self, check: str) -> str | None:
        """The label of a check's signature in the table of signatures: "S1"."""
        labels = (f"S{i}" for i, (_, checks) in enumerate(self.signatures, start=1) if check in checks)
        return next(labels, None)

    def judged(self, check: str) -> Judged:
        """What became of a check; one that was neither planned nor run is not-run."""
        return next((j for j in self.verdict.checks if j.check == check), Judged(check, Status.NOT_RUN))

    def ran(self, check: str) -> bool:
        """Whether a check came to its end: what its record lists, and what it does not, then means something."""
        return self.judged(check).status in (Status.PASS, Status.FAIL)

    def unplanned(self) -> list[str]:
        """The checks with a record that the plan does not know, and no section shows: those of another version."""
        planned = {check.name for check in CHECKS}
        return [j.check for j in self.verdict.checks if j.check not in planned and self.record(j.check)]

    def accuracy(self) -> list[Accuracy]:
        """The accuracy table's rows. A component passes when its shape, finiteness and parity all did."""
        sources = [dict(self.named(check, "components")) for check in ("shapes", "parity", "determinism")]
        names = dict.fromkeys((*COMPONENTS, *(name for source in sources for name in source)))
        return [self._accuracy(name, *(source.get(name, {}) for source in sources)) for name in names]

    def _accuracy(
        self, name: str, shape: Mapping[str, Any], parity: Mapping[str, Any], repeat: Mapping[str, Any]
    ) -> Accuracy:
        actual, expected, finite = (shape.get(key) for key in ("shape", "expected", "finite"))
        shaped = None if actual is None or expected is None else actual == expected and finite
        passed = {"shapes": shaped, "parity": parity.get("passed")}
        if False in passed.values():
            return Accuracy(name, Status.FAIL, None, shape, parity, repeat)
        lacking = next((check for check, one in passed.items() if one is not True), None)
        status: Status | None = self.judged(lacking).status if lacking else Status.PASS
        if lacking and self.ran(lacking):
            status = None
        return Accuracy(name, status, lacking, shape, parity, repeat)

    @property
    def device(self) -> str:
        """The device to name in commands: the one that was used, or else the run's option."""
        return self.verdict.device.used or self.verdict.device.requested or "auto"

    def command(self, program: str, **options: object) -> str:
        """A command line of `program` for this run's checkpoint and device, quoted for a shell."""
        run = self.evidence.run
        argv = [program, *(("--model-dir", run.model_dir) if run else ()), "--device", self.device]
        return "python " + shlex.join([*argv, *(part for k, v in options.items() for part in (f"--{k}", str(v)))])
