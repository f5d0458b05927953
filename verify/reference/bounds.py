"""How far a point of the model may be from the reference: the noise of ideal devices there, times a measured factor.

The ideal devices' noise is the unit-roundoff argument carried out on the very weights and inputs: the model's own code
with one rounding of what every operator gives (rounding.py, values.py). It covers depth, size and
conditioning. What real arithmetic adds to it by kind of layer (a fused operator that rounds inside, the order of a
float32 sum) is the factor, which `python -m verify.reference.calibrate` measures and keeps in bounds.toml.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from model import device as devices
from verify.reference.figures import Bound

if TYPE_CHECKING:
    from model.components import Loaded
    from model.hooks import Point

BOUNDS = Path(__file__).with_name("bounds.toml")
UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
# Where an ideal device makes no error at all (a row of an embedding, positions that float32 holds), a real one may
# still be a rounding off.
LEAST_NOISE = 0.25  # unit roundoffs


@cache
def table() -> dict[str, Any]:
    """bounds.toml."""
    found: dict[str, Any] = tomllib.loads(BOUNDS.read_text(encoding="utf-8"))
    return found


def least(dtype: str, noise: tuple[float, float]) -> tuple[float, float]:
    """`noise` raised to what any device may be off by."""
    smallest = LEAST_NOISE * UNIT_ROUNDOFF[dtype]
    return max(noise[0], smallest), max(noise[1], smallest)


def kind_of(point: Point) -> str:
    """The row of bounds.toml that a point belongs to, if it has one of its own."""
    return f"{point.edge} {point.kind}"


def bound(device: str, dtype: str, mode: str, kind: str, noise: tuple[float, float]) -> Bound:
    """The bound of a point. `device` is "npu" only for a real one: an emulated NPU computes as a CPU does.

    Raises:
        KeyError: the table has nothing for the dtype or mode.
    """
    rows = table()[mode][dtype]
    factors = rows.get(kind, rows["any"])
    margin = float(table()["margin"][dtype])
    rel, worst = (margin * float(factor) * size for factor, size in zip(factors, least(dtype, noise), strict=True))
    least_bound = floor(device, mode, dtype)
    return Bound(max(rel, least_bound), max(worst, least_bound))


def floor(device: str, mode: str, dtype: str) -> float:
    """What a device that was not calibrated is allowed in any case; 0 for one that was."""
    return float(table()["floor"].get(device, {}).get(mode, {}).get(dtype, 0.0))


def arithmetic(loaded: Loaded) -> str:
    """Whose arithmetic it is: "cpu" also for an emulated NPU."""
    return "cpu" if devices.emulated() else loaded.device.kind
