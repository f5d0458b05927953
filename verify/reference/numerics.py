"""How far one tensor is from another, in float64: pure functions over NumPy arrays."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from env.language import _
from verify.reference.figures import ComparisonFigures

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """`actual` against `reference`. Where either holds a NaN or an infinity only `finite` and `identical` speak."""

    finite: bool
    identical: bool  # every value equal
    rel_l2: float | None = None
    max_abs: float | None = None
    mean_abs: float | None = None
    cosine: float | None = None
    worst_element: float | None = None
    top1: float | None = None  # share of positions with the same largest entry; None where there are no classes
    top1_regret: float | None = None

    @property
    def figures(self) -> ComparisonFigures:
        """As a record holds it: JSON has no infinity, which becomes None."""
        values: dict[str, Any] = {
            name: value if value is None or isinstance(value, bool) or math.isfinite(value) else None
            for name, value in asdict(self).items()
        }
        return ComparisonFigures(**values)


def as_array(tensor: torch.Tensor) -> Array:
    """A tensor as float64 on the CPU. It is moved first: an NPU has no float64 and would give float32."""
    import torch

    values: Array = tensor.detach().cpu().to(torch.float64).numpy()
    return values


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal in shape, dtype and every bit: a NaN equals itself, and -0.0 is not 0.0."""
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(as_bytes(one), as_bytes(other))


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor in order, uint8 [bytes]."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)


def relative_l2(actual: Array, reference: Array) -> float:
    """|actual - reference| / |reference| in the Euclidean norm; 0 where both are zero, inf where only reference is.

    Both are divided by the largest magnitude first, so that squares neither overflow nor vanish.
    """
    scale = max(_largest(actual), _largest(reference))
    if scale == 0.0:
        return 0.0
    a, r = actual / scale, reference / scale
    below = float(np.linalg.norm(r))
    return float(np.linalg.norm(a - r)) / below if below > 0.0 else math.inf


def cosine(actual: Array, reference: Array) -> float:
    """The cosine of the angle between two tensors; 1 where both are zero, 0 where one is."""
    largest, other = _largest(actual), _largest(reference)
    if largest == 0.0 or other == 0.0:
        return 1.0 if largest == other else 0.0
    a, r = actual / largest, reference / other
    return float(np.clip(np.vdot(a, r) / (np.linalg.norm(a) * np.linalg.norm(r)), -1.0, 1.0))


def top1_agreement(actual: Array, reference: Array) -> float:
    """Share of positions (all axes but the last) where both have their largest entry at the same index."""
    return float(np.mean(actual.argmax(axis=-1) == reference.argmax(axis=-1)))


def regret(chosen: NDArray[np.int64], reference: Array) -> float:
    """The worst of the choices: by how much `reference` [..., classes] prefers its own largest entry over the `chosen`
    [...] one, over the root mean square of its scores there. 0 where all choices agree; a tie costs nothing.
    """
    largest = np.max(np.abs(reference), axis=-1, keepdims=True)
    scores = np.divide(reference, largest, out=np.zeros_like(reference), where=largest > 0)
    lost = scores.max(axis=-1) - np.take_along_axis(scores, chosen[..., None], axis=-1)[..., 0]
    size = np.sqrt(np.mean(np.square(scores), axis=-1))
    return float(np.max(np.divide(lost, size, out=np.zeros_like(lost), where=lost > 0)))


def worst_element(actual: Array, reference: Array) -> float:
    """The largest |actual - reference| / (|reference| + rms(reference)); 0 where nothing differs.

    One wrong element of a large tensor moves the norm of the difference little. Rounding moves no element by more than
    its own share and some of the typical size, which is what the divisor allows.
    """
    scale = max(_largest(actual), _largest(reference))
    if scale == 0.0:
        return 0.0
    a, r = actual / scale, reference / scale  # so that squares neither overflow nor vanish
    difference = np.abs(a - r)
    allowed = np.abs(r) + float(np.linalg.norm(r)) / math.sqrt(r.size)
    with np.errstate(divide="ignore", over="ignore"):  # where the reference is zero and actual is not: an infinity
        return float(np.max(np.divide(difference, allowed, out=np.zeros_like(a), where=difference > 0)))


def top_k_overlap(actual: Array, reference: Array, k: int = 5) -> float:
    """Mean share of the `k` largest entries of the last axis that both have in common, in whatever order."""
    k = min(k, reference.shape[-1])
    ours, theirs = (np.argpartition(values, -k, axis=-1)[..., -k:] for values in (actual, reference))
    return float(np.mean((ours[..., :, None] == theirs[..., None, :]).any(axis=-1)))


def kl_divergence(actual: Array, reference: Array) -> float:
    """Mean Kullback-Leibler divergence of softmax(actual) from softmax(reference) along the last axis, in nats."""
    ours, theirs = _log_softmax(actual), _log_softmax(reference)
    return float(np.mean(np.sum(np.exp(theirs) * (theirs - ours), axis=-1)))


def _log_softmax(values: Array) -> Array:
    shifted = values - values.max(axis=-1, keepdims=True)
    logarithms: Array = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return logarithms


def _largest(values: Array) -> float:
    return float(np.max(np.abs(values)))


def compare(actual: ArrayLike, reference: ArrayLike, *, classes: bool = False) -> Comparison:
    """Compare two tensors of one shape; `classes` says that the last axis holds scores, of which the largest is chosen.

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    a, r = np.asarray(actual, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != r.shape:
        raise ValueError(_("shape {shape}, {expected} expected", shape=str(list(a.shape)), expected=str(list(r.shape))))
    if a.size == 0:
        raise ValueError(f"nothing to compare: shape {list(a.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(r).all()):
        return Comparison(finite=False, identical=bool(np.array_equal(a, r, equal_nan=True)))
    with np.errstate(over="ignore"):  # a difference beyond float64 is an infinity, and fails as one
        difference = np.abs(a - r)
        return Comparison(
            finite=True,
            identical=bool(np.array_equal(a, r)),
            rel_l2=relative_l2(a, r),
            max_abs=float(difference.max()),
            mean_abs=float(difference.mean()),
            cosine=cosine(a, r),
            worst_element=worst_element(a, r),
            top1=top1_agreement(a, r) if classes else None,
            top1_regret=regret(a.argmax(axis=-1), r) if classes else None,
        )
