"""What a fault does to one tensor: pure functions from a CPU tensor to a new one of the same shape and dtype."""

from __future__ import annotations

import torch

from .spec import Fault

# dtype -> (integer type of the same width, exponent bits, mantissa bits)
_LAYOUT = {
    torch.float64: (torch.int64, 11, 52),
    torch.float32: (torch.int32, 8, 23),
    torch.float16: (torch.int16, 5, 10),
    torch.bfloat16: (torch.int16, 8, 7),
}


class Corruption:
    """A corruption with what it remembers from call to call."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._last: torch.Tensor | None = None

    def apply(self, tensor: torch.Tensor, call: int, *, due: bool) -> torch.Tensor:
        """What takes the place of `tensor`, on any device, at the `call`-th matching call: itself where not `due`."""
        if self._fault.kind == "stale":
            last, self._last = self._last, tensor.clone()
            return last if due and last is not None and last.shape == tensor.shape else tensor
        return corrupt(tensor.cpu(), self._fault, call).to(tensor.device) if due else tensor


def corrupt(tensor: torch.Tensor, fault: Fault, call: int = 1) -> torch.Tensor:
    """`tensor` as the fault leaves it. `call` numbers the faulty calls, so that noise differs between them.

    Integer tensors (positions, token ids) can be shifted, transposed, halves swapped and zeroed, and scaled by whole
    numbers; what only makes sense for floating point leaves them as they are.
    """
    if tensor.numel() == 0:
        return tensor.clone()
    if fault.start is not None or fault.stop is not None:
        result = tensor.clone()
        part = (slice(None),) * (fault.dim % tensor.dim()) + (slice(fault.start, fault.stop),)
        result[part] = _whole(tensor[part], fault, call)
        return result
    return _whole(tensor, fault, call)


def _whole(tensor: torch.Tensor, fault: Fault, call: int) -> torch.Tensor:
    kind = fault.kind
    if kind == "zero":
        return tensor.masked_fill(_hit(tensor, fault), 0)
    if kind == "shift":
        return tensor.roll(1, fault.dim) if tensor.dim() else tensor.clone()
    if kind == "transpose":
        return _transposed(tensor, fault.dim)
    if kind == "swap_halves":
        return tensor.roll(tensor.shape[fault.dim] // 2, fault.dim)
    if not tensor.is_floating_point():
        return tensor.clone()
    if kind == "scale":
        assert fault.size is not None
        return tensor * fault.size
    if kind == "noise":
        assert fault.size is not None
        drawn = torch.randn(tensor.shape, generator=_generator(fault, call)).to(tensor.dtype)
        return tensor * (1 + fault.size * drawn)
    if kind == "bf16_round":
        return tensor.to(torch.bfloat16).to(tensor.dtype)
    if kind == "fp16_round":
        return tensor.to(torch.float16).to(tensor.dtype)
    if kind == "reseed":
        wide = tensor.float()
        drawn = torch.randn(tensor.shape, generator=_generator(fault, 0))
        return (wide.mean() + wide.std(correction=0) * drawn).to(tensor.dtype)
    if kind == "multibit":
        return _several_bits(tensor, fault)
    return _one_element(tensor, fault)


def _generator(fault: Fault, call: int) -> torch.Generator:
    return torch.Generator().manual_seed(fault.seed + 1_000_003 * call)


def _transposed(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """Two dimensions swapped in memory but not in name: what reading the other order gives."""
    if tensor.dim() < 2:
        return tensor.flip(0)
    return tensor.transpose(dim, dim - 1).contiguous().view(tensor.shape)


def _one_element(tensor: torch.Tensor, fault: Fault) -> torch.Tensor:
    result = tensor.clone(memory_format=torch.contiguous_format)
    flat = result.view(-1)
    index = fault.element
    if index is None:
        index = int(torch.randint(flat.numel(), (1,), generator=_generator(fault, 0)))
    index %= flat.numel()
    if fault.kind == "nan":
        flat[index] = torch.nan
    elif fault.kind == "inf":
        flat[index] = torch.inf
    else:
        assert fault.bit is not None
        integer, _, _ = _LAYOUT[tensor.dtype]
        mask = torch.tensor(1, dtype=torch.int64) << bit_number(fault.bit, tensor.dtype)
        if integer != torch.int64:
            width = torch.iinfo(integer).bits
            mask = torch.where(mask >= 1 << (width - 1), mask - (1 << width), mask)  # the sign bit, as a signed integer
        bits = flat.view(integer)
        bits[index] ^= mask.to(integer)
    return result


def _several_bits(tensor: torch.Tensor, fault: Fault) -> torch.Tensor:
    """The same bits of a word flipped: in one element, in every `period`-th, or in a tile of rows and columns.

    So silent corruption looks where it was measured: fewer than 40 % of bit-flip events are of a single bit, and
    corrupt addresses are periodic (a gate-level study of 3 million simulator hours, arXiv 2605.04213).
    """
    assert fault.bits is not None
    result = tensor.clone(memory_format=torch.contiguous_format)
    integer, _, _ = _LAYOUT[tensor.dtype]
    width = torch.iinfo(integer).bits
    chosen = torch.randperm(width, generator=_generator(fault, 0))[: fault.bits]
    mask = sum(1 << int(bit) for bit in chosen)
    mask -= (1 << width) if mask >= 1 << (width - 1) else 0  # as a signed integer
    words = result.view(integer)
    words[_hit(tensor, fault)] ^= mask
    return result


def _hit(tensor: torch.Tensor, fault: Fault) -> torch.Tensor:
    """Which elements are: a tile, every `period`-th from `element` on, that one, or of `zero` without any of them all.

    Corrupt addresses are aligned with the warps: 2, 4, 8 or 16 elements lie between them (arXiv 2605.04213).
    """
    hit = torch.zeros(tensor.shape, dtype=torch.bool)
    if fault.tile is not None:
        hit[..., : fault.tile, : fault.tile] = True
    elif fault.kind == "zero" and fault.element is None and fault.period is None:
        hit[...] = True
    else:
        first = (fault.element or 0) % hit.numel()
        hit.view(-1)[first :: fault.period or hit.numel()] = True
    return hit


def bit_number(bit: str, dtype: torch.dtype) -> int:
    """The position, from 0 for the lowest, of a class of bit in a floating-point type."""
    _, exponent, mantissa = _LAYOUT[dtype]
    return {
        "sign": exponent + mantissa,
        "exponent_top": exponent + mantissa - 1,
        "exponent_middle": mantissa + exponent // 2,
        "exponent_low": mantissa,
        "mantissa_top": mantissa - 1,
        "mantissa_middle": mantissa // 2,
        "mantissa_low": 0,
    }[bit]
