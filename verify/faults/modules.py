"""Faults in the model's own parts: weights, outputs and inputs of layers, attributes, the key-value cache.

Hooks are put on a model as it is built, before anyone else's, and act only while tensors of the faulty device pass, so
that a reference model on the CPU in the same process stays right. A wrong weight or attribute is there only while
its own module runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils._pytree import tree_flatten

from .corruptions import Corruption, corrupt
from .events import happen
from .spec import CORRUPTIONS, EVENTS, Fault

Replacement = Callable[[torch.Tensor], torch.Tensor]


class Scopes:
    """Which of the watched modules are running on the faulty device, outermost first."""

    def __init__(self) -> None:
        self._running: list[str] = []

    def inside(self, pattern: str) -> bool:
        return any(fnmatchcase(name, pattern) for name in self._running)

    def watch(self, name: str, module: torch.nn.Module) -> None:
        def enter(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self._running.append(name)

        def leave(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._running.pop()

        module.register_forward_pre_hook(enter, with_kwargs=True)
        module.register_forward_hook(leave, with_kwargs=True, always_call=True)


def attach(root: torch.nn.Module, faults: Sequence[Fault], scopes: Scopes) -> None:
    """Put the hooks of `faults` on a model that was just built."""
    for name, module in root.named_modules():
        for fault in faults:
            if fault.at == "op" and fault.module is not None and fnmatchcase(name, fault.module):
                scopes.watch(name, module)
            elif fault.at == "module" and fnmatchcase(name, fault.target):
                _LayerFault(fault).attach(module)
            elif fault.at == "attribute" and fnmatchcase(name, fault.target):
                _AttributeFault(fault).attach(module)
            elif fault.at == "weight":
                prefix = f"{name}." if name else ""
                own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
                for key, _ in own:
                    if fnmatchcase(prefix + key, fault.target):
                        _WeightFault(fault, key).attach(module)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, torch.Tensor))


def of_dtype(fault: Fault, *values: Any) -> bool:
    """Whether one of the tensors in `values` is of the fault's dtype, where it names one."""
    return fault.dtype is None or any(tensor.dtype == getattr(torch, fault.dtype) for tensor in _tensors(values))


def _on_device(fault: Fault, module: torch.nn.Module, *values: Any) -> bool:
    first = next(_tensors(values), None)
    weight = next(module.parameters(), None)  # of a model over several cards, arguments come from the card before
    if first is not None and weight is not None and weight.device.type == first.device.type:
        first = weight
    own = list(module.parameters(recurse=False))  # an embedding's dtype is not that of its arguments
    return first is not None and is_faulty(fault, first.device) and of_dtype(fault, values, own)


def is_faulty(fault: Fault, device: torch.device) -> bool:
    """Whether it is the device, and where one card is named that card, which the fault is planted in."""
    return device.type == fault.device and fault.card in (None, device.index or 0)


class _LayerFault:
    """A fault of a layer's output, of one of its arguments, of its time, or an event as it starts."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._corruption = Corruption(fault)
        self._calls = 0
        self._on_device = False
        self._started = 0.0

    def attach(self, module: torch.nn.Module) -> None:
        module.register_forward_pre_hook(self._before, with_kwargs=True)
        module.register_forward_hook(self._after, with_kwargs=True)

    def _before(self, module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        fault = self._fault
        self._on_device = _on_device(fault, module, args, kwargs)
        if not self._on_device:
            return None
        self._calls += 1
        if fault.kind in EVENTS and fault.due(self._calls):
            happen(fault)
        if fault.kind in CORRUPTIONS and fault.argument is not None:
            return _replace_argument(args, kwargs, fault.argument, self._applied)
        self._started = time.perf_counter()
        return None

    def _after(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if self._on_device and self._fault.kind in CORRUPTIONS and self._fault.argument is None:
            return _replace_first(output, self._applied)
        if self._on_device and self._fault.kind == "slower" and self._fault.due(self._calls):
            self._linger()
        return None

    def _linger(self) -> None:
        """Keep the processor busy for a share of what the layer took: of the host's time, where a device works on."""
        assert self._fault.size is not None
        now = time.perf_counter()
        until = now + self._fault.size * (now - self._started)
        while time.perf_counter() < until:
            pass

    def _applied(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._corruption.apply(tensor, self._calls, due=self._fault.due(self._calls))


def _replace_argument(args: Any, kwargs: Any, key: int | str, change: Replacement) -> Any:
    if isinstance(key, int):
        return (*args[:key], change(args[key]), *args[key + 1 :]), kwargs
    return args, kwargs | {key: change(kwargs[key])}


def _replace_first(output: Any, change: Replacement) -> Any:
    """The first tensor of an output changed: of a tensor, a tuple, or a library's output object."""
    if isinstance(output, torch.Tensor):
        return change(output)
    if isinstance(output, tuple):
        return (change(output[0]), *output[1:])
    key = next(iter(output))
    output[key] = change(output[key])
    return output


class _Swap:
    """Something of a module that is wrong exactly while the module runs on the faulty device."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.calls = 0
        self._saved: list[Callable[[], None]] = []

    def attach(self, module: torch.nn.Module) -> None:
        module.register_forward_pre_hook(self._before, with_kwargs=True)
        module.register_forward_hook(self._after, with_kwargs=True, always_call=True)

    def _before(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if not _on_device(self.fault, module, args, kwargs):
            return
        self.calls += 1
        if self.fault.due(self.calls):
            self._saved.append(self.swap(module))

    def _after(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        while self._saved:
            self._saved.pop()()

    def swap(self, module: torch.nn.Module) -> Callable[[], None]:
        """Make it wrong; returns what makes it right again."""
        raise NotImplementedError


class _WeightFault(_Swap):
    def __init__(self, fault: Fault, key: str) -> None:
        super().__init__(fault)
        self._key = key
        self._wrong: torch.Tensor | None = None

    def swap(self, module: torch.nn.Module) -> Callable[[], None]:
        holder = getattr(module, self._key)
        right = holder.data
        if self._wrong is None or self._wrong.dtype != right.dtype:
            self._wrong = corrupt(right.cpu(), self.fault).to(right.device)
        holder.data = self._wrong

        def restore() -> None:
            holder.data = right

        return restore


class _AttributeFault(_Swap):
    def swap(self, module: torch.nn.Module) -> Callable[[], None]:
        name, fault = str(self.fault.attribute), self.fault
        right = getattr(module, name)
        if fault.kind == "activation":
            wrong = ACTIVATIONS[str(fault.value)]
        elif fault.kind == "multiply":
            assert fault.size is not None
            wrong = right * fault.size
        else:
            wrong = fault.value
        setattr(module, name, wrong)
        return lambda: setattr(module, name, right)


class _Activation(torch.nn.Module):
    def __init__(self, function: Replacement) -> None:
        super().__init__()
        self._function = function

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._function(tensor)


ACTIVATIONS = {
    "gelu_tanh": torch.nn.GELU(approximate="tanh"),
    "gelu_sigmoid": _Activation(lambda tensor: tensor * torch.sigmoid(1.702 * tensor)),
    "relu": torch.nn.ReLU(),
    "hardswish": torch.nn.Hardswish(),
    "silu_1.05": _Activation(lambda tensor: tensor * torch.sigmoid(1.05 * tensor)),
    "identity": torch.nn.Identity(),
}


class CacheFaults:
    """Makes the key-value cache keep the position before instead of its own.

    The target is a layer's number; calls are counted per cache and layer, over decoding steps (one new position).
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._seen: WeakKeyDictionary[Any, dict[int, _LayerCache]] = WeakKeyDictionary()

    def attach(self, cache_class: Any) -> None:
        """`cache_class` is transformers' Cache: update(key_states, value_states, layer_idx, cache_kwargs)."""
        right = cache_class.update

        def update(
            cache: Any, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
        ) -> Any:
            keys, values = self._kept(cache, layer_idx, keys, values)
            return right(cache, keys, values, layer_idx, *args, **kwargs)

        cache_class.update = update

    def _kept(
        self, cache: Any, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        before = self._seen.setdefault(cache, {}).get(layer)
        step = 0 if before is None else before.step + 1
        self._seen[cache][layer] = _LayerCache(step, keys[..., -1:, :], values[..., -1:, :])
        for fault in self._faults:
            right_kind = is_faulty(fault, keys.device) and of_dtype(fault, keys)
            matches = right_kind and fnmatchcase(str(layer), fault.target)
            if before is not None and matches and fault.due(step):
                return before.keys, before.values
        return keys, values


@dataclass(frozen=True)
class _LayerCache:
    """The newest position of one layer: [B, heads, 1, head_dim]. Step 0 is the prefill."""

    step: int
    keys: torch.Tensor
    values: torch.Tensor
