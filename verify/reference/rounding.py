"""An ideal device: the model's own code in a narrow dtype, every operator exact and its result rounded once.

A device that computes in bfloat16 or float16 stores what each operator gives. Inside an operator (a matrix product, a
softmax, a normalisation) it sums in float32, whose error does not show beside the rounding of the result: a relative
error |d| <= u, the dtype's unit roundoff, for each operator in a row (the standard model; Higham and Mary 2019, SIAM J.
Sci. Comput. 41(5)). So the model runs with its weights in the dtype, and while `RoundOnce` is entered every operator is
carried out in a wider one instead, and its result rounded to the dtype that the operator really gives: what the model's
code casts to float32 (RMSNorm, the rotary table) is rounded to float32, what it hands to one fused operator (attention)
is rounded once. A device that fuses more rounds less often; one that fuses less stays within the margin of the bounds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Rounding at random has twice the variance of rounding to nearest: for an x that lies evenly between two neighbours one
# ulp apart, E[f(1 - f)] = 1/6 against 1/12 (Croci et al. 2022, "Stochastic rounding", R. Soc. Open Sci. 9: 211631).
STOCHASTIC_EXCESS = math.sqrt(2)
# It moves values and rounds none; a vocabulary need not be widened for a few rows of it.
_EXACT = {torch.ops.aten.embedding.default}
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


class RoundOnce(TorchDispatchMode):
    """While entered, operators compute in `wide` and round once: to nearest, or, with a `seed`, up or down at random,
    so that every seed is another device, whose errors are STOCHASTIC_EXCESS times as large.
    """

    def __init__(self, wide: torch.dtype, seed: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._wide = wide
        self._random = None if seed is None else torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = _leaves(*args, *kwargs.values())
        operands = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
        if operator in _EXACT or not any(self._is_narrow(tensor.dtype) for tensor in operands):
            return operator(*args, **kwargs)
        dtype = _result(leaves, operands)
        if _is_view(operator) and all(_holds(dtype, tensor.dtype) for tensor in operands):
            return operator(*args, **kwargs)
        wide_kwargs = {name: _each(self._widened, value) for name, value in kwargs.items()}
        exact = operator(*(_each(self._widened, value) for value in args), **wide_kwargs)
        if operator._schema.is_mutable:
            target: torch.Tensor = args[0]
            return target.copy_(self._rounded(exact, target.dtype))
        return _each(lambda leaf: self._rounded(leaf, dtype), exact)

    def _is_narrow(self, dtype: torch.dtype) -> bool:
        return dtype.is_floating_point and dtype.itemsize < self._wide.itemsize

    def _widened(self, leaf: Any) -> Any:
        """Narrow tensors, and dtypes among the arguments, in the wide dtype."""
        if isinstance(leaf, torch.Tensor):
            return leaf.to(self._wide) if self._is_narrow(leaf.dtype) else leaf
        return self._wide if isinstance(leaf, torch.dtype) and self._is_narrow(leaf) else leaf

    def _rounded(self, leaf: Any, dtype: torch.dtype) -> Any:
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point() or leaf.dtype == dtype:
            return leaf
        if self._random is None or dtype not in _BITS:
            return leaf.to(dtype)
        return stochastic(leaf, dtype, self._random)


# An operator's arguments are values and flat lists of values. torch's pytree walks any nesting: with it, and with
# weights read through this mode, the bundled checkpoint's reference took 21.3 s under cProfile, without 11.7 s (AVX2).
def _leaves(*values: Any) -> list[Any]:
    return [leaf for value in values for leaf in (value if isinstance(value, (list, tuple)) else (value,))]


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    return type(value)([change(leaf) for leaf in value]) if isinstance(value, (list, tuple)) else change(value)


def _result(leaves: list[Any], operands: list[torch.Tensor]) -> torch.dtype:
    """The dtype of what an operator gives: the one among its arguments, else its operands' by torch's promotion."""
    for leaf in leaves:
        if isinstance(leaf, torch.dtype) and leaf.is_floating_point:
            return leaf
    weighty = [tensor for tensor in operands if tensor.dim()] or operands  # numbers do not widen a tensor
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in weighty))


def _holds(dtype: torch.dtype, other: torch.dtype) -> bool:
    """Whether a cast from `other` rounds nothing: a view has the same dtype, a weight is widened as it is read."""
    return torch.finfo(dtype).eps <= torch.finfo(other).eps


@functools.cache
def _is_view(operator: Any) -> bool:
    aliases = (result.alias_info for result in operator._schema.returns)
    return any(alias is not None and not alias.is_write for alias in aliases)


def stochastic(exact: torch.Tensor, dtype: torch.dtype, random: torch.Generator) -> torch.Tensor:
    """`exact` rounded to one of its two neighbours in `dtype`, with the chance that makes the mean error zero.

    What `dtype` holds is left as it is; so is what it underflows or overflows to.
    """
    nearest = exact.to(dtype)
    left = exact - nearest.to(exact.dtype)
    bits = nearest.view(_BITS[dtype])
    outward = (left > 0) == (nearest > 0)  # the bits count a magnitude
    other = torch.where(outward, bits + 1, bits - 1).view(dtype)
    gap = (other.to(exact.dtype) - nearest.to(exact.dtype)).abs()
    chance = torch.rand(exact.shape, generator=random)
    taken = (chance * gap < left.abs()) & (nearest != 0) & other.isfinite() & nearest.isfinite()
    return torch.where(taken, other, nearest)
