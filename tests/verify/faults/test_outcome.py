"""What is read out of a run's records: what saw the fault first, which layer it named, what an event left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from verify.faults import outcome
from verify.faults.cases import Case
from verify.faults.clean import CleanSeed
from verify.run.records import Record, Run, Status, write_record, write_run

LAYER = "encoder.layers.1.ff1"
NUMBER = Case("a case", "a family", "something", "npu", ({"at": "module", "kind": "scale"},), layer=LAYER)
EVENT = Case("an event", "a family", "something", "npu", ({"at": "module", "kind": "segfault"},))
ENDED = {"exit_code": 30, "seconds": 9.0}


RECORDS = Path(__file__).resolve().parents[2] / "data" / "report" / "npu-verified" / "records"
DIFFERENCE = {"run": 2, "name": LAYER, "layer": LAYER}
TENSOR = {"name": f"{LAYER}.weight", "what": "is zero", "values": 1}
NOW = "2026-01-01T00:00:00+00:00"


def departure(layer: str) -> dict[str, Any]:
    point = stored("layers")["isolated"]["closest"][0]
    return {"isolated": {"first_departure": {**point, "layer": layer}, "missing": []}}


def stored(check: str) -> dict[str, Any]:
    """The figures of a check that passed."""
    data: dict[str, Any] = json.loads((RECORDS / f"{check}.json").read_text(encoding="utf-8"))["data"]
    return data


def merged(figures: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with some of them, at any depth, replaced."""
    inner = {
        name: merged(figures[name], value) if isinstance(figures.get(name), dict) and isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return {**figures, **inner}


def run(folder: Path, *records: tuple[str, Status, Mapping[str, Any]], effect: float | None = 30.0) -> Path:
    """A run's folder with these records, a second each."""
    folder.mkdir(parents=True, exist_ok=True)
    planned = tuple(name for name, _, _ in records)
    write_run(folder, Run("run", NOW, 2, "npu:0", "stand-in", "auto", 42, planned, "nox", {}))
    for name, status, data in records:
        figures = merged(stored(name), data) if data or status is Status.PASS else {}
        write_record(folder, Record(name, 2, status, f"{name} says", NOW, 1.0, figures, {}, "nox"))
    (folder / outcome.EFFECT).write_text(json.dumps({"float32": {"effect": effect, "where": "encoder"}}))
    return folder


@pytest.mark.parametrize(
    ("records", "check", "seconds", "named_layer", "named"),
    [
        ([("layers", Status.FAIL, departure(LAYER))], "layers", 1.0, LAYER, True),
        ([("layers", Status.FAIL, departure("encoder"))], "layers", 1.0, "encoder", False),
        (
            [("parity", Status.FAIL, {}), ("layers", Status.PASS, {}), ("sharp", Status.FAIL, departure(LAYER))],
            "parity", 1.0, LAYER, True,
        ),
        ([("load", Status.PASS, {}), ("tokens", Status.FAIL, {})], "tokens", 2.0, None, False),
        (
            [("sharp", Status.FAIL, {"isolated": {"missing": [f"{LAYER} > silu"]}})],
            "sharp", 1.0, LAYER, True,
        ),
        (
            [("repeatability", Status.FAIL, {"repeats_sharp": {"first_difference": DIFFERENCE}})],
            "repeatability", 1.0, LAYER, True,
        ),
        ([("weights", Status.FAIL, {"differing": [TENSOR]})], "weights", 1.0, LAYER, True),
    ],
)  # fmt: skip
def test_the_first_record_that_did_not_pass_saw_it_and_the_first_that_names_a_layer_names_it(
    records: list[tuple[str, Status, Mapping[str, Any]]], check: str, seconds: float, named_layer: str | None,
    named: bool, tmp_path: Path,
) -> None:  # fmt: skip
    row = outcome.of_fault(NUMBER, run(tmp_path, *records), ENDED)
    assert (row.caught, row.check, row.seconds) == (True, check, seconds)
    assert (row.named_layer, row.named) == (named_layer, named)


@pytest.mark.parametrize(
    ("effect", "beyond"), [(30.0, True), (0.5, False), (1.0, False), (None, True)]
)  # None: not finite
def test_a_fault_counts_where_it_moves_an_output_by_more_than_the_dtypes_noise(
    effect: float | None, beyond: bool, tmp_path: Path
) -> None:
    row = outcome.of_fault(NUMBER, run(tmp_path, ("layers", Status.PASS, {}), effect=effect), ENDED)
    assert (row.effect, row.beyond_noise, row.caught, row.named) == (effect, beyond, False, None)


def test_a_fault_that_is_wrong_by_nature_counts_whatever_one_pass_shows(tmp_path: Path) -> None:
    case = Case("a case", "a family", "something", "npu", NUMBER.faults, certain=True)
    assert outcome.of_fault(case, run(tmp_path, ("layers", Status.PASS, {}), effect=0.0), ENDED).beyond_noise


@pytest.mark.parametrize(
    ("documents", "exit_code", "caught"), [(True, 31, True), (False, 31, False), (True, -1, False)]
)
def test_an_event_ends_well_with_records_documents_and_in_time(
    documents: bool, exit_code: int, caught: bool, tmp_path: Path
) -> None:
    folder = run(tmp_path, ("load", Status.PASS, {}), ("generate", Status.ERROR, {}))
    for name in outcome.DOCUMENTS if documents else ():
        (folder / name).touch()
    row = outcome.of_fault(EVENT, folder, {"exit_code": exit_code, "seconds": 3.0})
    assert (row.caught, row.records, row.documents) == (caught, 2, documents)
    assert row.verdict.startswith("incomplete")


def test_whatever_does_not_pass_in_a_clean_run_is_an_alarm(tmp_path: Path) -> None:
    folder = run(tmp_path, ("load", Status.PASS, {}), ("speech", Status.SKIP, {}), ("tokens", Status.FAIL, {}))
    row = outcome.of_clean(CleanSeed("synthetic:tiny", 3), "float16", folder, ENDED)
    assert (row.alarms, row.reason, row.checks) == (("tokens",), "tokens: tokens says", 3)


def test_a_clean_run_that_did_not_end_is_an_alarm(tmp_path: Path) -> None:
    folder = run(tmp_path, ("load", Status.PASS, {}))
    row = outcome.of_clean(CleanSeed("synthetic:tiny", 3), "float16", folder, {"exit_code": -1, "seconds": 400.0})
    assert row.alarms == ("the run itself",)


ONE_OF_FOUR = Case("one of four", "f", "w", "npu", ({"at": "module", "kind": "scale", "card": 2},), layer=LAYER)


@pytest.mark.parametrize(
    ("others", "caught"), [(Status.PASS, True), (Status.FAIL, False), (None, False)], ids=["right", "wrong", "absent"]
)
def test_of_several_cards_the_wrong_one_is_to_fail_and_no_other(
    others: Status | None, caught: bool, tmp_path: Path
) -> None:
    for card in (0, 1, 3):
        run(tmp_path / f"npu-{card}", *([("layers", others, {})] if others else []))
    wrong = run(tmp_path / "npu-2", ("layers", Status.FAIL, departure(LAYER)))
    (wrong / outcome.EFFECT).rename(tmp_path / outcome.EFFECT)  # measured once, beside the cards
    row = outcome.of_fault(ONE_OF_FOUR, tmp_path, ENDED)
    assert (row.caught, row.check, row.named_layer) == (caught, "layers", LAYER)


def test_a_check_whose_figures_broke_has_seen_nothing(tmp_path: Path) -> None:
    folder = run(tmp_path, ("layers", Status.FAIL, departure(LAYER)))
    (record,) = (folder / "records").glob("*.json")
    value = json.loads(record.read_text(encoding="utf-8"))
    value |= {"status": "error", "data": {}, "reason": f"{outcome.NOT_JUDGED}: data.problems[0]"}
    record.write_text(json.dumps(value), encoding="utf-8")
    assert not outcome.of_fault(NUMBER, folder, ENDED).caught
