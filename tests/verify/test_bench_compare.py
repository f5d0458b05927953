"""What the bench of `compare` counts: alarms over one program, and what is seen of what is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from env.errors import UsageError
from tests.verify.test_compare import planted
from verify import bench_compare
from verify.bench_compare import CHECKS, SHARE, SLOW, Bench
from verify.faults.spec import parse_rows
from verify.report.statistics import Word

LAYER = "language_model.model.layers.3.mlp"  # of the made-up runs
ROUNDS, SIDE, DRAWS = 6, 5, 8
PLANTED = {"both": (1 + SHARE, LAYER), "no layer": (1 + SHARE, ""), "faster": (1 - SHARE, LAYER)}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("clean")
    for place, kind in enumerate(("a", "b")):
        for n in range(ROUNDS):
            planted(base / kind / f"{n:03d}", 1000 + 100 * place + n)
    return base


def bench(clean: Path, tmp_path: Path, what: str) -> Bench:
    projector, scaled = PLANTED[what]
    for kind in ("a", "b"):
        (tmp_path / kind).symlink_to(clean / kind)
    for n in range(ROUNDS):
        planted(tmp_path / "planted" / f"{n:03d}", 200 + n, projector=projector, scaled=scaled)
    return Bench.read(tmp_path, SIDE, DRAWS)


@pytest.fixture
def _layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_compare, "LAYER", LAYER)


@pytest.mark.usefixtures("_layer")
def test_what_is_planted_is_seen_and_one_program_alarms_nothing(clean: Path, tmp_path: Path) -> None:
    both = bench(clean, tmp_path, "both")
    assert (both.same.comparisons, both.same.alarms, both.same.differing) == (DRAWS, 0, 0)
    assert (both.unlike.named, both.unlike.alarms) == (DRAWS, 0)
    assert both.unlike.count(SLOW, Word.SLOWER) == DRAWS
    assert both.holds
    summary = json.loads(json.dumps(both.as_json()))
    assert summary["planted"]["words"][SLOW] == {"slower": DRAWS}
    assert 0 < summary["spread"][SLOW] < 0.05
    assert f"is called slower in {DRAWS} of {DRAWS}" in "\n".join(both.lines())


@pytest.mark.usefixtures("_layer")
@pytest.mark.parametrize("what", ["no layer", "faster"])
def test_a_comparison_that_denies_what_is_planted_does_not_hold(clean: Path, tmp_path: Path, what: str) -> None:
    assert not bench(clean, tmp_path, what).holds


def test_too_few_runs_are_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 rounds of runs are too few"):
        Bench.read(tmp_path, SIDE, DRAWS)


def test_what_is_planted_can_be_planted() -> None:
    assert [(fault.target, fault.kind) for fault in parse_rows(bench_compare.planted(), "planted")] == [
        ("projector", "slower"),
        ("encoder.layers.1.conv", "scale"),
    ]
    assert CHECKS[-1] == "benchmark"
