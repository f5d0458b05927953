"""Bands: the noise of an ideal device times a measured factor; and how the factors are measured and written."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from model.hooks import Point
from verify.reference import bounds, calibrate
from verify.reference.figures import Bound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOISE = (1e-3, 2e-3)
DTYPES = ("bfloat16", "float16", "float32")


def test_a_band_is_margin_times_factor_times_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    table: dict[str, Any] = {
        "margin": {"bfloat16": 2.0},
        "floor": {"npu": {"isolated": {"bfloat16": 0.25}}},
        "isolated": {"bfloat16": {"any": [1.0, 1.5], "out of Softmax": [3.0, 4.0]}},
    }
    monkeypatch.setattr(bounds, "table", lambda: table)
    assert bounds.bound("cpu", "bfloat16", "isolated", "out of Linear", NOISE) == Bound(2e-3, 6e-3)
    assert bounds.bound("cpu", "bfloat16", "isolated", "out of Softmax", NOISE) == Bound(6e-3, 16e-3)
    assert bounds.bound("npu", "bfloat16", "isolated", "out of Softmax", NOISE) == Bound(0.25, 0.25)
    with pytest.raises(KeyError):
        bounds.bound("cpu", "float32", "isolated", "out of Linear", NOISE)


def test_where_an_ideal_device_makes_no_error_a_rounding_is_still_allowed() -> None:
    assert bounds.least("float32", (0.0, 0.0)) == (2**-26, 2**-26)
    assert bounds.least("float32", NOISE) == NOISE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["isolated", "end_to_end"])
def test_the_table_has_a_factor_for_every_kind_and_none_below_one(mode: str, dtype: str) -> None:
    rows = bounds.table()[mode][dtype]
    assert "any" in rows
    assert all(1.0 <= factor < 50 for pair in rows.values() for factor in pair)
    assert bounds.table()["margin"][dtype] > 1


def test_a_kind_is_where_the_point_is_and_what_made_it() -> None:
    point = Point("encoder.out", "out of", 0, 0, "encoder.out", "Linear")
    assert bounds.kind_of(point) == "out of Linear"


def test_the_factor_of_a_kind_is_the_largest_ratio_and_kinds_that_round_once_share_a_row() -> None:
    found = {
        ("isolated", "float32", "out of Linear"): [(3.0, 1.0), (2.0, 9.0)],
        ("isolated", "float32", "out of Dropout"): [(1.2, 1.1)],
        ("isolated", "float32", "out of LayerNorm"): [(1.1, 1.24)],
    }
    assert calibrate.factors(found) == {
        "isolated": {"float32": {"any": (1.2, 1.24), "out of Linear": (3.0, 9.0)}},
    }


def test_end_to_end_a_kind_that_is_much_above_the_median_kind_has_a_row_of_its_own() -> None:
    found = {
        ("end_to_end", "float32", "out of Linear"): [(7.0, 5.0)],
        ("end_to_end", "float32", "out of Dropout"): [(2.0, 6.0)],
        ("end_to_end", "float32", "out of LayerNorm"): [(4.0, 5.0)],
        ("end_to_end", "bfloat16", "out of Linear"): [(0.5, 0.6)],
        ("end_to_end", "bfloat16", "out of Dropout"): [(0.5, 1.2)],
    }
    assert calibrate.factors(found) == {
        "end_to_end": {
            "bfloat16": {"any": (1.0, 1.2)},
            "float32": {"any": (4.0, 6.0), "out of Linear": (7.0, 5.0)},
        },
    }


def test_what_is_written_is_what_is_read_and_never_less_than_was_measured() -> None:
    measured = {"isolated": {"float32": {"any": (1.201, 1.4), "into A > B.N": (math.pi, 9.0)}}}
    table = tomllib.loads(calibrate.text(measured, "a CPU", calibrate.FLOOR))
    assert table["isolated"]["float32"] == {"any": [1.21, 1.4], "into A > B.N": [3.15, 9.0]}
    assert table["margin"] == calibrate.MARGIN
    assert table["floor"]["npu"]["isolated"]["bfloat16"] == 2**-7


def test_the_table_in_use_is_one_that_calibrate_writes() -> None:
    table = bounds.table()
    assert table["margin"] == calibrate.MARGIN
    assert table["floor"] == calibrate.FLOOR


def test_what_is_measured_again_stays_within_the_table_kind_by_kind() -> None:
    said: list[str] = []
    found = calibrate.ratios({"synthetic:tiny": 1}, ["bfloat16"], said.append)
    assert said == ["synthetic:tiny seed 1"]
    assert {mode for mode, _, _ in found} == {"isolated", "end_to_end"}
    for (mode, dtype, kind), pairs in found.items():
        rows = bounds.table()[mode][dtype]
        rel, worst = rows.get(kind, rows["any"])
        assert all(pair[0] <= rel and pair[1] <= worst for pair in pairs), f"{mode} {kind}"
