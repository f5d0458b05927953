"""Bounds: ideal devices' noise times a measured factor and a margin; and how factors are measured and written."""

from __future__ import annotations

import math
from typing import Any

import pytest

from env.toml import loads
from model.hooks import Point
from verify.reference import bounds, calibrate
from verify.reference.figures import Bound

NOISE = (1e-3, 2e-3)
DTYPES = ("bfloat16", "float16", "float32")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    margins = {"bfloat16": 2.0}
    chosen: dict[str, Any] = {
        "margin": {"isolated": margins, "component": {"bfloat16": 1.5}},
        "floor": {"npu": {"isolated": {"bfloat16": 0.25}, "end_to_end": {"bfloat16": 0.125}}},
        "regret": {"times": 8.0},
    }
    measured: dict[str, Any] = {
        "isolated": {"bfloat16": {"any": [1.0, 1.5], "out of Softmax": [3.0, 4.0]}},
        "component": {"bfloat16": {"encoder": [2.0, 2.0], "end_to_end": [1.0, 1.0]}},
    }
    monkeypatch.setattr(bounds, "chosen", lambda: chosen)
    monkeypatch.setattr(bounds, "measured", lambda: measured)


@pytest.mark.usefixtures("tables")
def test_a_bound_is_margin_times_factor_times_noise() -> None:
    assert bounds.bound("cpu", "bfloat16", "isolated", "out of Linear", NOISE) == Bound(2e-3, 6e-3)
    assert bounds.bound("cpu", "bfloat16", "isolated", "out of Softmax", NOISE) == Bound(6e-3, 16e-3)
    assert bounds.bound("npu", "bfloat16", "isolated", "out of Softmax", NOISE) == Bound(0.25, 0.25)
    with pytest.raises(KeyError):
        bounds.bound("cpu", "float32", "isolated", "out of Linear", NOISE)


@pytest.mark.usefixtures("tables")
def test_the_limits_of_a_component_all_follow_from_its_bound() -> None:
    limits = bounds.limits("cpu", "bfloat16", "encoder", NOISE, classes=True)
    assert limits.values == pytest.approx({"rel_l2": 3e-3, "cosine": math.sqrt(1 - 9e-6), "top1_regret": 24e-3})
    assert limits.source.startswith("bounds.toml, [component.bfloat16] encoder: ")
    assert set(bounds.limits("cpu", "bfloat16", "encoder", NOISE).values) == {"rel_l2", "cosine"}


@pytest.mark.usefixtures("tables")
def test_the_logits_have_the_floor_of_a_whole_pass_also_where_they_are_compared_as_a_component() -> None:
    assert bounds.limits("npu", "bfloat16", "encoder", NOISE).values["rel_l2"] == pytest.approx(3e-3)
    assert bounds.limits("npu", "bfloat16", "end_to_end", NOISE).values["rel_l2"] == 0.125


@pytest.mark.usefixtures("tables")
def test_a_component_without_a_row_is_an_error() -> None:
    with pytest.raises(KeyError, match="any"):
        bounds.limits("cpu", "bfloat16", "decoder", NOISE)


def test_what_only_moves_values_may_round_each_once() -> None:
    assert bounds.one_rounding("float16").values["rel_l2"] == 2**-11


def test_noise_in_another_dtype_is_to_the_unit_roundoff_as_it_was() -> None:
    assert bounds.in_dtype(NOISE, "float32", "bfloat16") == (1e-3 * 2**16, 2e-3 * 2**16)
    assert bounds.in_dtype(NOISE, "float32", "float32") == NOISE


def test_where_an_ideal_device_makes_no_error_a_rounding_is_still_allowed() -> None:
    assert bounds.least("float32", (0.0, 0.0)) == (2**-26, 2**-26)
    assert bounds.least("float32", NOISE) == NOISE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["isolated", "end_to_end", "component"])
def test_the_table_has_a_factor_for_every_kind_and_none_below_one(mode: str, dtype: str) -> None:
    rows = bounds.measured()[mode][dtype]
    assert all(1.0 <= factor < 50 for pair in rows.values() for factor in pair)
    assert bounds.chosen()["margin"][mode][dtype] >= 1.5
    components = {"encoder", "ctc_head", "projector", "language_model", "end_to_end"}
    assert set(rows) == components if mode == "component" else "any" in rows


def test_one_step_of_cached_decoding_has_less_room_than_the_whole_model_and_more_with_every_layer() -> None:
    assert bounds.cached_limit("cpu", "bfloat16", 4) == pytest.approx(6.7 * 2**-8)
    assert bounds.cached_limit("cpu", "bfloat16", 16) == pytest.approx(13.4 * 2**-8)
    assert bounds.cached_limit("npu", "float32", 4) == 9.6e-5
    assert bounds.cached_limit("cpu", "float32", 4) < 4e-6


def test_a_kind_is_where_the_point_is_and_what_made_it() -> None:
    point = Point("encoder.out", "out of", 0, 0, "encoder.out", "Linear")
    assert bounds.kind_of(point) == "out of Linear"


def test_the_factor_of_a_kind_is_the_largest_ratio_and_kinds_that_round_once_share_a_row() -> None:
    ratios = {
        ("isolated", "float32", "out of Linear"): [(3.0, 1.0), (2.0, 9.0)],
        ("isolated", "float32", "out of Dropout"): [(1.2, 1.1)],
        ("isolated", "float32", "out of LayerNorm"): [(1.1, 1.24)],
    }
    assert calibrate.factors(ratios) == {
        "isolated": {"float32": {"any": (1.2, 1.24), "out of Linear": (3.0, 9.0)}},
    }


def test_end_to_end_a_kind_that_is_much_above_the_median_kind_has_a_row_of_its_own() -> None:
    ratios = {
        ("end_to_end", "float32", "out of Linear"): [(7.0, 5.0)],
        ("end_to_end", "float32", "out of Dropout"): [(2.0, 6.0)],
        ("end_to_end", "float32", "out of LayerNorm"): [(4.0, 5.0)],
        ("end_to_end", "bfloat16", "out of Linear"): [(0.5, 0.6)],
        ("end_to_end", "bfloat16", "out of Dropout"): [(0.5, 1.2)],
    }
    assert calibrate.factors(ratios) == {
        "end_to_end": {
            "bfloat16": {"any": (1.0, 1.2)},
            "float32": {"any": (4.0, 6.0), "out of Linear": (7.0, 5.0)},
        },
    }


def test_every_component_has_a_row_of_its_own() -> None:
    ratios = {
        ("component", "float32", "encoder"): [(1.1, 1.3), (1.301, 1.1)],
        ("component", "float32", "projector"): [(0.7, 0.9)],
    }
    assert calibrate.factors(ratios) == {
        "component": {"float32": {"encoder": (1.31, 1.3), "projector": (1.0, 1.0)}},
    }


def test_what_is_written_is_what_is_read_and_never_less_than_was_measured() -> None:
    ratios: calibrate.Ratios = {
        ("isolated", "float32", "into A > B.N"): [(math.pi, 9.0)],
        ("isolated", "float32", "out of C"): [(1.2, 1.0)],
    }
    table = calibrate.factors(ratios)
    document = loads(calibrate.text(table, {"isolated": "a CPU"}))
    assert document["isolated"]["float32"] == {"any": [1.2, 1.0], "into A > B.N": [3.15, 9.0]}
    assert document["measured_on"] == {"isolated": "a CPU"}


def test_the_table_in_use_is_one_that_calibrate_writes_and_the_rows_of_a_mode_that_is_not_measured_are_kept() -> None:
    table, measured_on = calibrate.kept(())
    assert calibrate.text(table, measured_on) == bounds.BOUNDS.read_text(encoding="utf-8")
    others, _ = calibrate.kept(("component",))
    assert set(others) == {"isolated", "end_to_end"}


@pytest.mark.slow
def test_what_is_measured_again_stays_within_the_table_kind_by_kind() -> None:
    lines: list[str] = []
    again = calibrate.ratios({"synthetic:tiny": 1}, ["bfloat16"], calibrate.ALL_MODES, lines.append)
    assert lines == ["synthetic:tiny seed 1"]
    assert {mode for mode, _, _ in again} == set(calibrate.ALL_MODES)
    for (mode, dtype, kind), ratios in again.items():
        rows = bounds.measured()[mode][dtype]
        rel, worst = rows[kind] if kind in rows else rows["any"]
        assert all(ratio[0] <= rel and ratio[1] <= worst for ratio in ratios), f"{mode} {kind}"
