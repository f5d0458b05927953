"""The table of faults: every kind that was promised, in places that are there."""

from __future__ import annotations

import fnmatch
from collections import Counter

import pytest

from env.toml import load_toml
from model.components import Loaded
from verify.checks.definition import EQUATIONS
from verify.faults import cases, checkpoints, clean, library
from verify.faults.cases import Case
from verify.faults.spec import BITS, EVENTS, LIBRARY, FaultError
from verify.report import campaign

READ = cases.read()
KINDS = Counter((row["at"], row["kind"]) for case in READ for row in case.faults)


def test_there_are_enough_of_each_sort() -> None:
    assert len(READ) >= 120
    sorts = Counter(case.sort for case in READ)
    assert min(sorts["event"], sorts["checkpoint"]) >= 8
    assert Counter(case.on for case in READ)["cpu"] >= 20


@pytest.mark.parametrize("bit", BITS)
@pytest.mark.parametrize("at", ["weight", "module"])
def test_every_class_of_bit_is_flipped_in_a_weight_and_in_an_activation(at: str, bit: str) -> None:
    assert any(row["at"] == at and row.get("bit") == bit for case in READ for row in case.faults)


def test_each_class_of_measured_corruption_is_planted_and_no_family_is_in_two() -> None:
    rows = load_toml(campaign.MEASURED)["class"]
    families = {case.family for case in READ}
    for row in rows:
        for pattern in row["families"]:
            assert fnmatch.filter(families, pattern), pattern
    for family in families:
        assert sum(any(fnmatch.fnmatchcase(family, name) for name in row["families"]) for row in rows) <= 1, family
    assert sum(row["share"] for row in rows) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_way_a_device_fails_is_tried(event: str) -> None:
    assert KINDS["module", event] >= 1


@pytest.mark.parametrize("damage", sorted(checkpoints.DAMAGES))
def test_every_damage_to_a_checkpoint_is_tried(damage: str) -> None:
    assert damage in {case.damage for case in READ}


@pytest.mark.parametrize("case", [case for case in READ if case.layer], ids=lambda case: case.id)
def test_what_is_to_be_named_is_a_layer_of_the_stand_in_or_an_equation(case: Case, stand_in: Loaded) -> None:
    layers = dict(stand_in.model.named_modules())
    library = case.faults and case.faults[0]["at"] == LIBRARY
    assert case.layer in ({equation.name for equation in EQUATIONS} if library else layers)
    assert set(case.also) & set(layers) or not case.also


@pytest.mark.parametrize(
    "case", [case for case in READ if any(row["at"] in ("module", "attribute", "weight") for row in case.faults)],
    ids=lambda case: case.id,
)  # fmt: skip
def test_a_fault_has_something_to_hit(case: Case, stand_in: Loaded) -> None:
    names = {"module": dict(stand_in.model.named_modules())}
    names["attribute"] = names["module"]
    names["weight"] = dict([*stand_in.model.named_parameters(), *stand_in.model.named_buffers()])
    for row in case.faults:
        assert row["target"] in names[row["at"]]
        if row["at"] == "attribute":
            assert hasattr(names["module"][row["target"]], row["attribute"])


def test_on_a_cpu_only_the_dtype_of_the_model_under_test_is_hit() -> None:
    assert {row.get("dtype") for case in READ if case.on == "cpu" for row in case.faults} == {cases.CPU_DTYPE}


def test_a_known_miss_is_a_case() -> None:
    assert set(cases.table().get("missed", {})) <= {case.id for case in READ}


def test_two_cases_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    family = {"name": "twice", "what": "", "faults": []}
    monkeypatch.setattr(cases, "table", lambda: {"family": [family, family]})
    with pytest.raises(FaultError, match="two cases are named twice"):
        cases.read()


def test_clean_runs_are_over_a_hundred_of_both_models_some_with_every_check() -> None:
    runs = clean.read()
    assert len(runs) * len(clean.DTYPES) >= 100
    assert len({run.seed for run in runs}) == len(runs)
    assert set(Counter(run.model for run in runs).values()) == {len(runs) // 2}
    assert any(run.full for run in runs)


def test_every_fault_of_the_library_is_tried() -> None:
    tried = [row["target"] for case in READ for row in case.faults if row["at"] == LIBRARY]
    assert sorted(tried) == sorted(library.FAULTS)
    assert len(tried) >= 10


def test_one_card_of_several_is_wrong_in_some() -> None:
    several = [case for case in READ if case.card is not None]
    assert several
    assert all(case.card in range(cases.CARDS) and case.on == "npu" and case.layer for case in several)
