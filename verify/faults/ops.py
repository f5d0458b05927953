"""Faults in single operators: on the emulated NPU as an interceptor of its kernels, on the CPU as a dispatch mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from .corruptions import Corruption
from .events import happen
from .modules import Scopes, of_dtype
from .spec import CORRUPTIONS, EVENTS, Fault


class OpFaults:
    """Applies faults to the ops it is shown. Op names are aten's: "addmm", "add.Tensor"; a pattern may leave the
    overload out.
    """

    def __init__(self, faults: Sequence[Fault], scopes: Scopes, card: Callable[[], int] = lambda: 0) -> None:
        """`card` is the index of the device that the op shown runs on: its tensors here are the host's."""
        self._faults = [_OpFault(fault) for fault in faults]
        self._scopes = scopes
        self._card = card
        self._matching: list[_OpFault] = []

    def before(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        card = self._card()
        self._matching = [
            fault for fault in self._faults if fault.on(card) and fault.matches(op, self._scopes, (args, kwargs))
        ]
        for fault in self._matching:
            args, kwargs = fault.before(args, kwargs)
        return args, kwargs

    def after(self, op: str, result: Any) -> None:
        for fault in self._matching:
            fault.after(result)
        self._matching = []


class _OpFault:
    """A fault and the number of calls it has matched."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._corruption = Corruption(fault)
        self._calls = 0
        self._due = False

    def on(self, card: int) -> bool:
        return self._fault.card in (None, card)

    def matches(self, op: str, scopes: Scopes, arguments: Any) -> bool:
        fault = self._fault
        if not (fnmatchcase(op, fault.target) or fnmatchcase(op.partition(".")[0], fault.target)):
            return False
        if fault.module is not None and not scopes.inside(fault.module):
            return False
        if not of_dtype(fault, arguments):
            return False
        self._calls += 1
        self._due = fault.due(self._calls)
        return True

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._fault.kind in EVENTS:
            if self._due:
                happen(self._fault)
        elif self._fault.kind == "keyword":
            if self._due:
                kwargs = kwargs | {str(self._fault.argument): self._fault.value}
        elif isinstance(self._fault.argument, int):
            key = self._fault.argument
            if key < len(args) and isinstance(args[key], torch.Tensor):
                args = (*args[:key], self._applied(args[key]), *args[key + 1 :])
        elif isinstance(kwargs.get(str(self._fault.argument)), torch.Tensor):
            name = str(self._fault.argument)
            kwargs = kwargs | {name: self._applied(kwargs[name])}
        return args, kwargs

    def after(self, result: Any) -> None:
        if self._fault.kind in CORRUPTIONS and self._fault.argument is None:
            tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]
            if tensors:
                tensors[0].copy_(self._applied(tensors[0]))

    def _applied(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._corruption.apply(tensor, self._calls, due=self._due)


class CpuOpFaults(TorchDispatchMode):
    """The same faults in the ops of tensors on `device`, where no emulated kernels show them."""

    def __init__(self, faults: OpFaults, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._faults = faults
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
        namespace, _, name = str(func).partition(".")
        view = any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)
        if namespace != "aten" or view or not any(tensor.device.type == self._device for tensor in tensors):
            return func(*args, **kwargs)
        name = name.removesuffix(".default")
        args, kwargs = self._faults.before(name, args, kwargs)
        result = func(*args, **kwargs)
        self._faults.after(name, result)
        return result
