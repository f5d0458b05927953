"""What verify saw of a case, read from the records of its run. Nothing here knows how a fault was planted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from verify.report.campaign import CleanOutcome, FaultOutcome
from verify.run import plan
from verify.run.departure import layer_of
from verify.run.records import Evidence, Record, Status, read_evidence
from verify.run.verdict import judge

from .cases import CARDS, Case
from .clean import CleanSeed

DOCUMENTS = ("report.en.md", "report.zh.md")
NOT_JUDGED = "the check's figures are no JSON"  # verify/run/worker.py: a fault of the check, not one that it has seen
EFFECT = "effect.json"  # as effect.py writes it
PASSED = (Status.PASS, Status.SKIP)


def in_order(evidence: Evidence) -> list[Record]:
    """The records in the order in which the checks ran."""
    return [evidence.records[check.name] for check in plan.CHECKS if check.name in evidence.records]


def evidence_folder(case: Case, folder: Path) -> Path:
    """Where the wrong device's records are: of several cards each has its run in a folder of its own."""
    return folder if case.card is None else folder / f"npu-{case.card}"


def _others_are_right(case: Case, folder: Path) -> bool:
    """Whether every other card of the case's machine was checked and passed."""
    cards = [card for card in range(CARDS) if card != case.card] if case.card is not None else []
    records = [in_order(read_evidence(folder / f"npu-{card}")) for card in cards]
    return all(every and all(record.status in PASSED for record in every) for every in records)


def of_fault(case: Case, folder: Path, answer: Mapping[str, Any]) -> FaultOutcome:
    """What became of a case, from the folder of its run and the server's answer {"exit_code", "seconds"}."""
    evidence = read_evidence(evidence_folder(case, folder))
    records = in_order(evidence)
    bad = next((place for place, record in enumerate(records) if record.status not in PASSED), None)
    first = None if bad is None else records[bad]
    named_layer = _named_layer(records)
    effect, beyond = _effect(case, folder)
    verdict = judge(evidence)
    documents = all((folder / name).exists() for name in DOCUMENTS)
    in_time = answer["exit_code"] >= 0
    judged = not any(str(record.reason).startswith(NOT_JUDGED) for record in records)
    caught = (
        first is not None
        and judged
        and in_time
        and (case.sort != "event" or documents)
        and _others_are_right(case, folder)
    )
    return FaultOutcome(
        id=case.id,
        family=case.family,
        what=case.what,
        on=case.on,
        emulated=case.on == "npu",
        layer=case.layer,
        sort=case.sort,
        effect=effect,
        beyond_noise=beyond,
        caught=caught,
        check=first.check if first else None,
        level=first.level if first else None,
        reason=str(first.reason) if first else "",
        named=None if case.layer is None or not caught else named_layer in (case.layer, *case.also),
        named_layer=named_layer,
        seconds=None if bad is None else round(sum(record.seconds for record in records[: bad + 1]), 3),
        records=len(records),
        documents=documents,
        verdict=verdict.line(),
        missed_because=None,
    )


def _effect(case: Case, folder: Path) -> tuple[float | None, bool | None]:
    """How far the fault moves outputs in units of the dtype's noise, the larger dtype's; and whether that is beyond it.

    Outputs that are not finite are beyond any noise; of what is no wrong number there is nothing to say.
    """
    if case.sort != "number":
        return None, None
    by_dtype = json.loads((folder / EFFECT).read_text(encoding="utf-8"))
    effects = [entry["effect"] for entry in by_dtype.values()]
    if case.certain or None in effects:
        return max((effect for effect in effects if effect is not None), default=None), True
    return max(effects), max(effects) > 1.0


def _named_layer(records: Sequence[Record]) -> str | None:
    """The layer that the first record that names one blames."""
    for record in records:
        if record.status not in PASSED:
            name_in = NAMES.get(record.check)
            name = name_in(record.data) if name_in else None
            if name is not None:
                return name
    return None


def _difference(data: Mapping[str, Any]) -> str | None:
    """Of `repeatability`."""
    for runs in ("repeats", "repeats_sharp"):
        first = data.get(runs, {}).get("first_difference")
        if first:
            return str(first["layer"])
    return None


def _weight(data: Mapping[str, Any]) -> str | None:
    """Of `weights`."""
    return str(data["differing"][0]["name"]).rpartition(".")[0] if data.get("differing") else None


def _equation(data: Mapping[str, Any]) -> str | None:
    """Of `definition`: a fault of the library is named by the equation that it breaks."""
    return next((str(row["name"]) for row in data.get("equations", []) if not row["passed"]), None)


NAMES: Mapping[str, Callable[[Mapping[str, Any]], str | None]] = {
    "definition": _equation,
    "weights": _weight,
    "layers": layer_of,
    "sharp": layer_of,
    "repeatability": _difference,
}


def of_clean(run: CleanSeed, dtype: str, folder: Path, answer: Mapping[str, Any]) -> CleanOutcome:
    """What became of a run without a fault: every check that did not pass is an alarm."""
    records = in_order(read_evidence(folder))
    alarms = [record for record in records if record.status not in PASSED]
    return CleanOutcome(
        model=run.model,
        seed=run.seed,
        dtype=dtype,
        on=run.on,
        alarms=tuple(record.check for record in alarms) if answer["exit_code"] >= 0 else ("the run itself",),
        reason="; ".join(f"{record.check}: {record.reason}" for record in alarms),
        checks=len(records),
        seconds=answer["seconds"],
    )
