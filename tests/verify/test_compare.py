"""Two sides of runs: what differs is named, what does not is not, and what cannot be compared is said first."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from env.errors import RecordError, UsageError
from env.language import LANGUAGES
from tests.verify.page import Page
from tests.verify.report_runs import DATA
from verify.bench_pair import command
from verify.report.compare import main, side
from verify.report.comparison import Comparison
from verify.report.side_plots import SidePlots
from verify.report.statistics import Word

LAYERS = [
    "encoder.layers.0",
    "encoder.layers.0.attn",
    "language_model.model.layers.3",
    "language_model.model.layers.3.mlp",
]
PAIRS = 6


def changed(path: Path, change: Any) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value["data"], value["signature"])
    path.write_text(json.dumps(value), encoding="utf-8")


def planted(folder: Path, seed: int, *, projector: float = 1.0, scaled: str = "") -> Path:
    """A made-up run of a quiet machine, its projector slower and one layer off, as far as these are planted."""
    shutil.copytree(DATA / "npu-verified", folder, ignore=shutil.ignore_patterns("*.md", "*.html"))
    draw = random.Random(seed)

    def times(data: dict[str, Any], signature: dict[str, Any]) -> None:
        for name, row in {**data["components"], "total": data["total"]}.items():
            pace = draw.gauss(1, 0.004) * (projector if name == "projector" else 1.0)
            row["samples_ms"] = [value * pace * draw.gauss(1, 0.01) for value in row["samples_ms"]]
        data["decode"]["prefill_samples_ms"] = [27.7 * draw.gauss(1, 0.004) for _ in range(3)]
        data["decode"]["samples_ms"] = [28.8 * draw.gauss(1, 0.004) for _ in range(20)]

    def stack(data: dict[str, Any], signature: dict[str, Any]) -> None:
        off = [name for name in LAYERS if scaled and f"{scaled}.".startswith(f"{name}.")]
        excess = [0.9 if name in off else 0.4 for name in LAYERS]
        data["isolated"]["points"] = len(LAYERS)
        data["isolated"]["stack"] = {"names": LAYERS, "rel_l2": excess, "expected": [1.0] * 4, "excess": excess}

    changed(folder / "records" / "benchmark.json", times)
    changed(folder / "records" / "layers.json", stack)
    return folder


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("sides")
    for n in range(PAIRS):
        planted(base / "a" / f"{n}", seed=n)
        planted(base / "same" / f"{n}", seed=100 + n)
        planted(base / "b" / f"{n}", seed=200 + n, projector=1.10, scaled="language_model.model.layers.3.mlp")
    return base


def compared(base: Path, one: str, other: str) -> Comparison:
    return Comparison(side([str(base / one)], ""), side([str(base / other)], ""), {})


def test_a_slow_projector_and_a_scaled_layer_are_named_and_nothing_else(sides: Path) -> None:
    comparison = compared(sides, "a", "b")
    assert {c.name: c.word for c in comparison.changes if c.word in (Word.SLOWER, Word.FASTER)} == {
        "projector": Word.SLOWER
    }
    (layer,) = comparison.layers
    assert (layer.name, layer.first, layer.second, layer.beyond) == (
        "language_model.model.layers.3.mlp",
        0.4,
        0.9,
        False,
    )
    assert comparison.incomparable == comparison.conditions == comparison.results == comparison.texts == []
    assert comparison.alarms() == {"slower": True, "differs": True, "checks": False}


def test_the_same_program_twice_alarms_nothing(sides: Path) -> None:
    comparison = compared(sides, "a", "same")
    assert comparison.layers == []
    assert not any(comparison.alarms().values())
    assert {change.runs for change in comparison.changes} == {(PAIRS, PAIRS)}


def test_one_run_against_one_cannot_tell(sides: Path) -> None:
    comparison = compared(sides, "a/0", "b/0")
    assert {change.word for change in comparison.changes} == {Word.CANNOT_TELL}
    assert [moved.name for moved in comparison.layers] == ["language_model.model.layers.3.mlp"]


def test_conditions_that_forbid_a_comparison_stand_first(sides: Path, tmp_path: Path) -> None:
    other = shutil.copytree(sides / "b", tmp_path / "b")
    for run in Path(other).iterdir():
        changed(run / "records" / "benchmark.json", lambda data, signature: signature.update(batch=8))
    assert main([str(sides / "a"), str(other), "--output", str(tmp_path), "--fail-on", "slower"]) == 0
    text = (tmp_path / "compare.en.md").read_text(encoding="utf-8")
    assert text.index("## Not comparable") < text.index("| `batch` | 1 | 8 |") < text.index("## Times")
    assert "Not compared: see above." in text


def test_texts_and_tokens_are_compared_exactly(sides: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(sides / "a" / "0", tmp_path / "b"))

    def text(data: dict[str, Any], signature: dict[str, Any]) -> None:
        wrong = next(row for row in data["transcripts"] if not row["correct"])  # it stays so: the record holds together
        wrong["hypothesis"] += "s"

    changed(run / "records" / "speech.json", text)
    changed(run / "records" / "generate.json", lambda data, signature: data["token_ids"].append(1))
    comparison = compared(tmp_path, str(sides / "a" / "0"), "b")
    assert len(comparison.texts) == 1
    assert [difference.name for difference in comparison.results] == ["generate.token_ids"]


@pytest.mark.parametrize(
    ("other", "fail_on", "code"),
    [
        ("b", "never", 0),
        ("b", "slower", 30),
        ("b", "differs", 30),
        ("b", "checks", 0),
        ("b", "any", 30),
        ("same", "any", 0),
    ],
)
def test_the_exit_code_is_what_fail_on_names(sides: Path, tmp_path: Path, other: str, fail_on: str, code: int) -> None:
    arguments = [str(sides / "a"), str(sides / other), "--output", str(tmp_path), "--fail-on", fail_on]
    assert main(arguments) == code


def test_every_form_is_written_and_the_same_runs_give_the_same_bytes(sides: Path, tmp_path: Path) -> None:
    runs = [str(sides / "a" / str(n)) for n in range(PAIRS)]
    others = [str(sides / "b" / str(n)) for n in range(PAIRS)]
    for folder in ("one", "two"):
        assert main([*runs, "--against", *others, "--output", str(tmp_path / folder)]) == 0
    names = ["compare.en.md", "compare.html", "compare.json", "compare.zh.md"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    Page((tmp_path / "one" / "compare.html").read_text(encoding="utf-8"))
    assert json.loads((tmp_path / "one" / "compare.json").read_text(encoding="utf-8"))["alarms"]["slower"] is True


def test_a_comparison_of_a_program_with_itself_is_a_band(sides: Path, tmp_path: Path) -> None:
    assert main([str(sides / "a"), str(sides / "same"), "--output", str(tmp_path)]) == 0
    band = ["--band", str(tmp_path / "compare.json")]
    assert main([str(sides / "a"), str(sides / "b"), "--output", str(tmp_path / "x"), *band]) == 0
    with pytest.raises(RecordError, match="holds no bands"):
        main([str(sides / "a"), str(sides / "b"), "--band", str(sides / "a" / "0" / "run.json")])


def test_one_side_alone_is_refused(sides: Path) -> None:
    with pytest.raises(UsageError, match="one side alone"):
        main([str(sides / "a")])
    with pytest.raises(RecordError, match="no run in"):
        main([str(sides / "a"), "nowhere"])


def test_damaged_and_foreign_runs_compare_without_a_traceback(tmp_path: Path) -> None:
    for run in ("damaged", "setup-failed", "interrupted", "npu-failed"):
        assert main([str(DATA / run), str(DATA / "npu-verified"), "--output", str(tmp_path)]) == 0


def test_a_pair_has_its_own_folder_and_order_of_options(tmp_path: Path) -> None:
    argv = command("python", "--device npu:0 --dtype 'bfloat16'", ["layers"], tmp_path / "a" / "01")
    assert argv[3:7] == ["--device", "npu:0", "--dtype", "bfloat16"]
    assert argv[7:11] == ["--check", "benchmark", "--check", "layers"]
    assert argv[-4:] == ["--results", str(tmp_path / "a"), "--run", "01"]
    for options in ("--run x", "--results=y", "'"):
        with pytest.raises(UsageError):
            command("python", options, [], tmp_path)


def test_a_comparison_shows_every_run_and_every_layer_of_both_sides(sides: Path, tmp_path: Path) -> None:
    assert main([str(sides / "a"), str(sides / "b"), "--output", str(tmp_path)]) == 0
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert re.findall(r'<title id="([\w-]+)-t">', page) == [
        f"{lang}-{n}" for lang in LANGUAGES for n in ("times", "layers")
    ]
    plots = SidePlots(compared(sides, "a", "b"))
    assert plots.times is not None
    dots = [mark.path.count("M") for mark in plots.times.marks if mark.kind.startswith("dot")]
    assert dots == [PAIRS] * 12  # six figures, two sides
    layers = plots.errors("layers")
    assert layers is not None
    assert {mark.kind: mark.path.count("M") for mark in layers.marks} == {
        "limit": 1,
        "dot": 4,
        "dot other": 4,
        "ring": 1,
    }
    assert plots.furthest("layers")[0][1:] == (0.4, 0.9)
    assert plots.errors("sharp") is None


def test_sides_that_cannot_be_compared_have_no_plot_of_times(sides: Path, tmp_path: Path) -> None:
    other = shutil.copytree(sides / "b", tmp_path / "b")
    for run in Path(other).iterdir():
        changed(run / "records" / "benchmark.json", lambda data, signature: signature.update(batch=8))
    plots = SidePlots(compared(tmp_path, str(sides / "a"), str(other)))
    assert plots.times is None
    assert SidePlots(compared(sides, "a/0", "b/0")).times is not None
