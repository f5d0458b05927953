"""Error and bound edited together: bounds are made again of the recorded noise, which other checks must have, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.verify.report_runs import DATA
from verify.reference import bounds
from verify.reference.figures import Figures
from verify.run.damage import convert
from verify.run.derived import SCORES, across
from verify.run.figures import FIGURES
from verify.run.figures.layers import LayersFigures
from verify.run.records import Status, read_evidence
from verify.run.verdict import Word, judge

Data = dict[str, Any]
VERIFIED = DATA / "npu-verified"


def scale(mode: str, dtype: str, kind: str) -> tuple[float, float]:
    """What a noise is multiplied with to be a bound."""
    rows = bounds.measured()[mode][dtype]
    margin = bounds.chosen()["margin"][mode][dtype]
    one, other = rows.get(kind) or rows["any"]
    return margin * one, margin * other


def layers_with_noise(data: Data, dtype: str) -> None:
    for mode in ("isolated", "end_to_end"):
        points = data[mode]["closest"]
        for point in points:
            rel, worst = scale(mode, dtype, point["kind"])
            point["noise"] = {
                "rel_l2": point["expected"]["rel_l2"] / rel,
                "worst_element": point["expected"]["worst_element"] / worst,
            }
        data[mode] |= {
            "points": len(points),
            "stack": {
                "names": [point["name"] for point in points],
                "rel_l2": [point["rel_l2"] for point in points],
                "expected": [point["expected"]["rel_l2"] for point in points],
                "excess": [point["excess"] for point in points],
                "noise": [point["noise"]["rel_l2"] for point in points],
            },
        }


def tokens_with_noise(data: Data, dtype: str) -> None:
    rel, worst = scale("end_to_end", dtype, SCORES)
    data["noise"] = {
        "rel_l2": data["expected"]["rel_l2"] / rel,
        "worst_element": data["expected"]["worst_element"] / worst,
    }


def configurations_with_noise(data: Data, dtype: str) -> None:
    largest = max(row["limit"] for row in data["rows"] if row["limit"] and row["group"] not in ("dtype", "cache"))
    rel, _worst = scale("component", dtype, "end_to_end")
    data["scores_noise"] = 1.0 / scale("end_to_end", dtype, SCORES)[0] * largest
    data["noise"] = {dtype: largest / rel} | {
        row["name"]: row["limit"] / scale("component", row["name"], "end_to_end")[0]
        for row in data["rows"]
        if row["group"] == "dtype"
    }


def batch_with_noise(data: Data, dtype: str) -> None:
    data["batch"]["limit"] = 0.09
    data["batch"]["noise"] = 0.09 / 2 / scale("end_to_end", dtype, SCORES)[0]


NOISE: dict[str, Callable[[Data, str], None]] = {
    "layers": layers_with_noise,
    "sharp": layers_with_noise,
    "tokens": tokens_with_noise,
    "configurations": configurations_with_noise,
    "repeatability": batch_with_noise,
}


def edit(folder: Path, check: str, change: Callable[[Data], None]) -> None:
    path = folder / "records" / f"{check}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record["data"])
    path.write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of this version: its records hold the noise that their bounds are made of."""
    folder = Path(shutil.copytree(VERIFIED, tmp_path / "run"))
    for check, add in NOISE.items():
        dtype = json.loads((folder / "records" / f"{check}.json").read_text(encoding="utf-8"))["signature"]["dtype"]
        edit(folder, check, lambda data, add=add, dtype=dtype: add(data, dtype))  # type: ignore[misc]
    whole = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    whole["project"]["version"] = "0.2.0"
    (folder / "run.json").write_text(json.dumps(whole), encoding="utf-8")
    evidence = read_evidence(folder)
    assert not evidence.damaged
    assert judge(evidence).word is Word.VERIFIED
    return folder


def point_raised(mode: str) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        point = data[mode]["closest"][0]
        point["rel_l2"], point["expected"]["rel_l2"] = 0.4, 0.8

    return change


def worst_raised(data: Data) -> None:
    point = data["isolated"]["closest"][0]
    point["worst_element"], point["expected"]["worst_element"] = 4.0, 8.0


def stack_raised(data: Data) -> None:
    stack = data["end_to_end"]["stack"]
    stack["rel_l2"][1], stack["expected"][1] = 0.4, 0.8


def stack_error(data: Data) -> None:
    data["end_to_end"]["stack"]["rel_l2"][1] = 0.9


def stack_cut(data: Data) -> None:
    for each in data["isolated"]["stack"].values():
        del each[0]


def other_kind(data: Data) -> None:
    data["end_to_end"]["closest"][0] |= {"kind": "into GraniteSpeechConformerAttention > to_out"}
    data["end_to_end"]["closest"][0]["name"] = "language_model > o_proj"


def no_noise(data: Data) -> None:
    del data["isolated"]["closest"][0]["noise"]


def no_stack_noise(data: Data) -> None:
    del data["isolated"]["stack"]["noise"]


def tokens_raised(data: Data) -> None:
    data["expected"]["rel_l2"] = 0.9
    data["free"][0]["rel_l2"][0] = 0.8


def zeros_pass(data: Data) -> None:
    data["expected"]["rel_l2"] = 1.5
    data["noise"]["rel_l2"] = 1.5


def row_raised(group: str) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        row = next(row for row in data["rows"] if row["group"] == group and row["limit"])
        row["value"], row["limit"] = 0.4, 0.8

    return change


def row_freed(data: Data) -> None:
    data["rows"][0] |= {"value": 0.8, "limit": None, "passed": None}


def batch_raised(data: Data) -> None:
    data["batch"] |= {"logits_rel_l2": 0.4, "limit": 0.8}


def gone(*path: str) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


EDITS: list[tuple[str, str, Callable[[Data], None]]] = [
    ("layers", "a point alone", point_raised("isolated")),
    ("layers", "a point end to end", point_raised("end_to_end")),
    ("layers", "a worst element", worst_raised),
    ("layers", "a point of the stack", stack_raised),
    ("layers", "an error of the stack", stack_error),
    ("layers", "a stack without a point", stack_cut),
    ("layers", "a kind with a larger factor", other_kind),
    ("layers", "no noise", no_noise),
    ("layers", "a stack without noise", no_stack_noise),
    ("sharp", "a point end to end", point_raised("end_to_end")),
    ("tokens", "a step", tokens_raised),
    ("tokens", "zeros", zeros_pass),
    ("tokens", "no noise", gone("noise")),
    ("configurations", "a length", row_raised("length")),
    ("configurations", "a cache", row_raised("cache")),
    ("configurations", "a dtype", row_raised("dtype")),
    ("configurations", "no limit", row_freed),
    ("configurations", "no noise", gone("noise")),
    ("repeatability", "rows of a batch", batch_raised),
    ("repeatability", "no noise", gone("batch", "noise")),
]


@pytest.mark.parametrize(("check", "what", "change"), EDITS, ids=[f"{check}: {what}" for check, what, _ in EDITS])
def test_error_and_bound_raised_together_are_a_contradiction(
    check: str, what: str, change: Callable[[Data], None], run: Path
) -> None:
    edit(run, check, change)
    evidence = read_evidence(run)
    assert "status is pass" in evidence.damaged[f"{check}.json"], what
    assert evidence.status(check) is Status.ERROR
    assert judge(evidence).word is not Word.VERIFIED


def figures_of(run: Path, check: str, change: Callable[[Data], None] = lambda data: None) -> Figures:
    data = json.loads((run / "records" / f"{check}.json").read_text(encoding="utf-8"))["data"]
    change(data)
    return convert(data, FIGURES[check], "data")


def test_a_noise_raised_in_one_check_is_not_that_of_the_other(run: Path) -> None:
    edit(run, "repeatability", lambda data: data["batch"].update(noise=0.2))
    assert read_evidence(run).damaged.keys() == {"repeatability.json"}


@pytest.mark.parametrize(("factor", "problems"), [(1.0, 0), (1.2, 0), (5.0, 1)])
@pytest.mark.parametrize(
    ("one", "other", "point"), [("parity", "layers", "encoder"), ("configurations", "sharp", "model")]
)
def test_noise_of_a_component_is_that_of_its_point(
    one: str, other: str, point: str, factor: float, problems: int, run: Path
) -> None:
    def named(data: Data) -> None:
        data["end_to_end"]["stack"]["names"][0] = point

    layers = figures_of(run, other, named)
    assert isinstance(layers, LayersFigures)
    assert layers.end_to_end.stack is not None
    assert isinstance(layers.end_to_end.stack.noise, list)
    noise = layers.end_to_end.stack.noise[0] * factor

    def raised(data: Data) -> None:
        if one == "parity":
            data["components"][point]["noise"] = noise
        else:
            data["noise"]["float32"] = noise

    figures = {one: figures_of(run, one, raised), other: layers}
    same = {"dtype": "bfloat16", "seed": 42}
    assert len(list(across(figures, {one: same, other: same}))) == problems
    assert not list(across(figures, {one: same, other: same | {"seed": 1}}))


def test_a_run_of_the_first_version_may_lack_its_noise(run: Path) -> None:
    whole = json.loads((run / "run.json").read_text(encoding="utf-8"))
    whole["project"]["version"] = "0.1.0"
    (run / "run.json").write_text(json.dumps(whole), encoding="utf-8")
    edit(run, "tokens", gone("noise"))
    assert not read_evidence(run).damaged
