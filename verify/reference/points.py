"""Every point of a forward pass on the device compared with the reference's, and held to its bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from msgspec import UNSET, structs

from env.language import Message, _
from model.components import Inputs, Loaded
from model.device import runtime_errors
from model.hooks import Hooks, Point
from verify.reference import bounds, numerics
from verify.reference.figures import Bound, NoiseFigures, PointFigures, ReferenceFigures, ScoresFigures
from verify.reference.numerics import as_array
from verify.reference.values import Expected, Noise


@dataclass(frozen=True)
class Reading:
    """One point of one pass, compared."""

    point: Point
    comparison: numerics.Comparison
    bound: Bound
    noise: Noise  # that the bound is made of
    trouble: Message | None = None  # what cannot be measured: another shape, NaN

    @property
    def excess(self) -> float:
        """The larger of error over bound; above 1 is beyond it. Infinite where the point holds NaN or infinity."""
        rel_l2, worst_element = self.comparison.rel_l2, self.comparison.worst_element
        if self.trouble or rel_l2 is None or worst_element is None:
            return math.inf
        return max(rel_l2 / self.bound.rel_l2, worst_element / self.bound.worst_element)

    @property
    def beyond(self) -> bool:
        return not self.excess <= 1.0

    @property
    def problem(self) -> Message:
        """What is wrong there: encoder.layers.7.conv.depth_conv, rel 3.1e-02, expected below 4.0e-03."""
        rel_l2, worst_element = self.comparison.rel_l2, self.comparison.worst_element
        name, bound = self.point.name, self.bound
        if self.trouble or rel_l2 is None or worst_element is None:
            return _("{point}, {trouble}", point=name, trouble=self.trouble or "")
        if rel_l2 > bound.rel_l2:
            return _(
                "{point}, rel {error:.1e}, expected below {bound:.1e}", point=name, error=rel_l2, bound=bound.rel_l2
            )
        return _(
            "{point}, worst element off by {error:.1e}, expected below {bound:.1e}",
            point=name,
            error=worst_element,
            bound=bound.worst_element,
        )

    @property
    def figures(self) -> PointFigures:
        excess = self.excess
        return PointFigures(
            name=self.point.name,
            layer=self.point.owner,
            edge=self.point.edge,
            kind=bounds.kind_of(self.point),
            **structs.asdict(self.comparison.figures),
            expected=self.bound,
            noise=NoiseFigures(*self.noise),
            excess=excess if math.isfinite(excess) else None,
            passed=not self.beyond,
        )


def read_points(loaded: Loaded, inputs: Inputs, expected: Expected, mode: str) -> list[Reading]:
    """One forward pass on the device with every point compared, in the order in which they are computed.

    Raises:
        OutOfMemoryError, DeviceError: the device failed.
    """
    readings: list[Reading] = []
    noise = expected.noise[loaded.dtype][mode]
    kind = bounds.arithmetic(loaded)

    def visit(point: Point, tensor: torch.Tensor) -> torch.Tensor | None:
        if point.key not in expected.values:
            return None
        reference = expected.values[point.key]
        bound = bounds.bound(kind, loaded.dtype, mode, bounds.kind_of(point), noise[point.key])
        readings.append(_reading(point, tensor.detach().cpu(), reference, bound, noise[point.key]))
        if mode != "isolated" or tensor.shape != reference.shape:
            return None
        return reference.to(loaded.torch_dtype).to(tensor.device)

    with runtime_errors(loaded.device, "comparing layers"), torch.inference_mode():
        with Hooks(loaded.model, visit, deep=expected.deep):
            loaded.forward(inputs)
        loaded.device.synchronize()
    return readings


def _reading(point: Point, here: torch.Tensor, reference: torch.Tensor, bound: Bound, noise: Noise) -> Reading:
    try:
        comparison = numerics.compare(as_array(here), as_array(reference))
    except ValueError:
        trouble = _("is {shape}, {expected} expected", shape=str(list(here.shape)), expected=str(list(reference.shape)))
        return Reading(point, numerics.Comparison(finite=False, identical=False), bound, noise, trouble)
    return Reading(point, comparison, bound, noise, None if comparison.finite else _("holds NaN or infinity"))


def described(expected: Expected) -> ReferenceFigures:
    return ReferenceFigures(
        device="cpu",
        dtype=expected.description.dtype,
        sha256=expected.sha256,
        depth="every layer" if expected.deep else "parts of layers",
        versions=dict(expected.description.versions),
        unkept=expected.unkept or UNSET,
    )


def scores(actual: numerics.Array, reference: numerics.Array) -> ScoresFigures:
    """Two sets of scores [..., vocab] compared; the measures of choice are None where one is not finite."""
    comparison = numerics.compare(actual, reference, classes=True)
    return ScoresFigures(
        **structs.asdict(comparison.figures),
        top5=numerics.top_k_overlap(actual, reference) if comparison.finite else None,
        kl=numerics.kl_divergence(actual, reference) if comparison.finite else None,
    )
