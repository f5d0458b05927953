"""How far ideal devices of a dtype are from the reference: the model's own code, every operator exact and rounded once.

Of a layer that is fed the reference's own input it is the error of the device that rounds to nearest (rounding.py). End
to end all roundings before a point sum up along the few directions that the layers after them pass on, one device being
several times as lucky as another: it is the largest error of several devices that round at random. A component lies
between the two: its input is the one with which it is compared (pairs.py), made by the reference of features in the
narrow dtype, and it is held against the reference from that very input. Some inputs are ill-conditioned, and there even
the device that rounds to nearest may be off by twice what is usual: its error is noise as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch.utils._python_dispatch import _disable_current_modes

from model import components
from model.components import Inputs, torch_dtype
from model.generation import never_chosen
from model.hooks import Hooks, Point
from model.reference import Reference
from verify.reference.numerics import as_array, relative_l2, worst_element
from verify.reference.rounding import STOCHASTIC_EXCESS, RoundOnce
from verify.reference.values import ENCODED, LOGITS_POINT, SPLICED, DtypeNoise, Key, Noise

# Devices that round at random; the factors of bounds.toml hold for these numbers. Of a component it is the root mean
# square of four: the largest of eight took twice the time and varied more from input to input (a language model's by
# 1.5 where this one's varies by 1.3), so that its bound would be the looser one.
DEVICES = 8
COMPONENT_DEVICES = 4
# What is run by itself, and the point whose value it is fed. The encoder is fed what the whole pass is, which is run
# anyway.
FED = {
    "ctc_head": (components.ctc_head, ENCODED),
    "projector": (components.project, ENCODED),
    "language_model": (components.language_model, SPLICED),
}


@dataclass(frozen=True)
class IdealDevices:
    """Ideal devices for one reference and one input."""

    wide: Reference
    inputs: Inputs
    deep: bool
    values: Mapping[Key, torch.Tensor]  # of the reference, at every point
    tokens: torch.Tensor  # [B, n], the reference's
    scores: torch.Tensor  # [B, n, vocab], what they were chosen from
    progress: Callable[[], None] = lambda: None  # told of every pass

    def noise(self, narrow: Reference) -> DtypeNoise:
        """The noise of the dtype of `narrow`: 1 + DEVICES passes, and COMPONENT_DEVICES more of what FED lists."""
        isolated, _ = self._device(narrow, self.inputs.input_ids, "isolated", None)
        # The reference's tokens are appended: what comes before them does not see them.
        ids = torch.cat([self.inputs.input_ids, self.tokens[:, :-1]], dim=1)
        devices = [self._device(narrow, ids, "end_to_end", seed) for seed in range(DEVICES)]
        end_to_end = {key: largest(errors[key] for errors, _ in devices) for key in isolated}
        steps = (self._scores(narrow, logits[:, self.inputs.positions - 1 :]) for _, logits in devices)
        whole = {"encoder": end_to_end[ENCODED], "end_to_end": end_to_end[LOGITS_POINT]}
        inputs = self._inputs(torch_dtype(narrow.dtype))
        fed = {name: self._component(narrow, name, inputs) for name in FED}
        return DtypeNoise({"isolated": isolated, "end_to_end": end_to_end}, largest(steps), whole | fed)

    def _device(
        self, narrow: Reference, ids: torch.Tensor, mode: str, seed: int | None
    ) -> tuple[dict[Key, Noise], torch.Tensor]:
        """The errors of one device at every point, and its logits [B, S, vocab]."""
        errors: dict[Key, Noise] = {}

        def visit(point: Point, tensor: torch.Tensor) -> torch.Tensor | None:
            if point.key not in self.values:
                return None
            wide = self.values[point.key]
            with _disable_current_modes():  # to compare is no operator of the device
                errors[point.key] = error(tensor[tuple(slice(size) for size in wide.shape)], wide)
            return wide.to(torch_dtype(narrow.dtype)) if mode == "isolated" else None

        with Hooks(narrow.model, visit, deep=self.deep), RoundOnce(self._exact, seed):
            logits = narrow.forward(self.inputs.features, ids)
        self.progress()
        return errors, logits

    def _inputs(self, dtype: torch.dtype) -> dict[Key, torch.Tensor]:
        """What components are fed where they are compared (pairs.py), in `dtype`."""
        encoded = self.wide.encode(self.inputs.features.to(dtype))
        spliced = self.wide.splice(self.inputs.input_ids, self.wide.project(encoded))
        return {ENCODED: encoded.to(dtype), SPLICED: spliced.to(dtype)}

    def _component(self, narrow: Reference, name: str, inputs: Mapping[Key, torch.Tensor]) -> Noise:
        """The usual error of a component by itself, or that of the device that rounds to nearest where it is larger."""
        component, key = FED[name]
        wide = self.wide.run(component, inputs[key])

        def of_device(seed: int | None) -> Noise:
            with RoundOnce(self._exact, seed):
                return error(narrow.run(component, inputs[key]), wide)

        usual = zip(*map(of_device, range(COMPONENT_DEVICES)), strict=True)
        rel, worst = (math.sqrt(fmean(x * x for x in figures)) / STOCHASTIC_EXCESS for figures in usual)
        nearest = of_device(None)
        return max(rel, nearest[0]), max(worst, nearest[1])

    def _scores(self, narrow: Reference, logits: torch.Tensor) -> Noise:
        """The error of one device's `logits` [B, n, vocab] at the step where it is largest."""
        kept = torch.ones(self.scores.shape[-1], dtype=torch.bool)
        kept[never_chosen(narrow.model)] = False
        pairs = zip(logits.flatten(0, 1), self.scores.flatten(0, 1), strict=True)
        rel, worst = zip(*(error(ours[kept], theirs[kept]) for ours, theirs in pairs), strict=True)
        return max(rel), max(worst)

    @property
    def _exact(self) -> torch.dtype:
        """What operators compute in before they round."""
        return torch.float64 if self.wide.dtype == "float64" else torch.float32


def error(ours: torch.Tensor, theirs: torch.Tensor) -> Noise:
    """Relative L2 and worst element of one tensor against another."""
    a, r = as_array(ours), as_array(theirs)
    return relative_l2(a, r), worst_element(a, r)


def largest(errors: Iterable[Noise]) -> Noise:
    """Of all devices, as if they rounded to nearest."""
    rel, worst = (max(figures) / STOCHASTIC_EXCESS for figures in zip(*errors, strict=True))
    return rel, worst
