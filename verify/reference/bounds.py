"""How far the model may be from the reference: the noise of ideal devices, times a measured factor, times a margin.

The ideal devices' noise is the unit-roundoff argument carried out on the very weights and inputs: the model's own code
with one rounding of what every operator gives (rounding.py, noise.py). It covers depth, size and conditioning. What
real arithmetic adds to it (a fused operator that rounds inside, the order of a float32 sum) is the factor, which
`python -m verify.reference.calibrate` measures and keeps in bounds.toml. What was chosen, not measured, is limits.toml.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env.language import _
from env.toml import load_toml
from verify.reference.figures import Bound
from verify.reference.limits import Limits, cosine_of

if TYPE_CHECKING:
    from model.components import Loaded
    from model.hooks import Point
    from verify.reference.values import Noise

BOUNDS = Path(__file__).with_name("bounds.toml")
LIMITS = Path(__file__).with_name("limits.toml")
END_TO_END = "end_to_end"
UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
# Where an ideal device makes no error at all (a row of an embedding, positions that float32 holds), a real one may
# still be a rounding off.
LEAST_NOISE = 0.25  # unit roundoffs


@cache
def measured() -> dict[str, Any]:
    """bounds.toml: factors by mode, dtype and kind."""
    return load_toml(BOUNDS)


@cache
def chosen() -> dict[str, Any]:
    """limits.toml: margins and floors."""
    return load_toml(LIMITS)


def least(dtype: str, noise: Noise) -> Noise:
    """`noise` raised to what any device may be off by."""
    smallest = LEAST_NOISE * UNIT_ROUNDOFF[dtype]
    return max(noise[0], smallest), max(noise[1], smallest)


def in_dtype(noise: Noise, known: str, dtype: str) -> Noise:
    """What `noise`, of ideal devices of the `known` dtype, is in another: to first order the unit roundoff's ratio."""
    ratio = UNIT_ROUNDOFF[dtype] / UNIT_ROUNDOFF[known]
    return noise[0] * ratio, noise[1] * ratio


def kind_of(point: Point) -> str:
    """The row of bounds.toml that a point belongs to, if it has one of its own."""
    return f"{point.edge} {point.kind}"


def bound(device: str, dtype: str, mode: str, kind: str, noise: Noise) -> Bound:
    """The bound of a point, or of a component. `device` is "npu" only for a real one: an emulated one computes as a
    CPU does.

    Raises:
        KeyError: the table has nothing for the dtype, the mode or the component.
    """
    rows = measured()[mode][dtype]
    factors = rows[kind] if kind in rows else rows["any"]
    margin = float(chosen()["margin"][mode][dtype])
    rel, worst = (margin * float(factor) * size for factor, size in zip(factors, least(dtype, noise), strict=True))
    # The logits of a whole pass are a whole pass's also where they are compared as a component is.
    least_bound = floor(device, END_TO_END if kind == END_TO_END else mode, dtype)
    return Bound(max(rel, least_bound), max(worst, least_bound))


def floor(device: str, mode: str, dtype: str) -> float:
    """What a device that was not calibrated is allowed in any case; 0 for one that was."""
    return float(chosen()["floor"].get(device, {}).get(mode, {}).get(dtype, 0.0))


def limits(device: str, dtype: str, component: str, noise: Noise, *, classes: bool = False) -> Limits:
    """The limits of a component, or of the logits of a whole pass ("end_to_end").

    cosine follows from rel_l2: an error of relative size e turns a vector by an angle whose cosine is at least
    sqrt(1 - e^2). With `classes`, where the last axis holds scores of which the largest is chosen, so does top1_regret.

    Raises:
        KeyError: as `bound`.
    """
    rel = bound(device, dtype, "component", component, noise).rel_l2
    source = _(
        "bounds.toml, [component.{dtype}] {component}: margin x factor x noise of ideal devices on these inputs",
        dtype=dtype,
        component=component,
    )
    return _following(rel, source, classes=classes)


def cached_limit(device: str, dtype: str, layers: int) -> float:
    """How far the logits of one cached decoding step may be, in rel_l2, from those of an uncached pass."""
    error = float(chosen()["cached"][dtype]) * UNIT_ROUNDOFF[dtype] * math.sqrt(layers)
    return max(error, floor(device, "cached", dtype))


def one_rounding(dtype: str) -> Limits:
    """The limits of what moves values and computes none: a value that the dtype does not hold is rounded once."""
    roundoff = UNIT_ROUNDOFF[dtype]
    source = _("one rounding of each value, u = {roundoff:g}", roundoff=roundoff)
    return _following(roundoff, source, classes=False)


def _following(error: float, source: str, *, classes: bool) -> Limits:
    values = {"rel_l2": error, "cosine": cosine_of(error)}
    if classes:
        values["top1_regret"] = float(chosen()["regret"]["times"]) * error
    return Limits(values, source)


def arithmetic(loaded: Loaded) -> str:
    """Whose arithmetic it is: "cpu" also for an emulated NPU."""
    from model import device

    return "cpu" if device.emulated() else loaded.device.kind
