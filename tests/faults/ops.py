"""Faults in single operators: on the emulated NPU as an interceptor of its kernels, on the CPU as a dispatch mode."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from .corruptions import corrupt
from .events import happen
from .modules import Scopes
from .spec import CORRUPTIONS, EVENTS, Fault


class OpFaults:
    """Applies faults to the ops it is shown. Op names are aten's: "addmm", "add.Tensor"; a pattern may leave the
    overload out.
    """

    def __init__(self, faults: Sequence[Fault], scopes: Scopes) -> None:
        self._faults = [_State(fault) for fault in faults]
        self._scopes = scopes
        self._due: list[_State] = []

    def before(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._due = [state for state in self._faults if self._is_due(state, op)]
        for state in self._due:
            fault = state.fault
            if fault.kind in EVENTS:
                happen(fault)
            elif fault.argument is not None:
                args, kwargs = state.corrupt_argument(args, kwargs)
        return args, kwargs

    def after(self, op: str, result: Any) -> None:
        for state in self._due:
            if state.fault.kind in CORRUPTIONS and state.fault.argument is None:
                state.corrupt_result(result)
        self._due = []

    def _is_due(self, state: _State, op: str) -> bool:
        fault = state.fault
        if not (fnmatchcase(op, fault.target) or fnmatchcase(op.partition(".")[0], fault.target)):
            return False
        if fault.module is not None and not self._scopes.inside(fault.module):
            return False
        state.calls += 1
        return fault.due(state.calls)


class _State:
    """A fault with what it remembers between calls."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.calls = 0
        self._last: torch.Tensor | None = None

    def corrupt_argument(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        key = self.fault.argument
        if isinstance(key, int):
            if key >= len(args) or not isinstance(args[key], torch.Tensor):
                return args, kwargs
            return (*args[:key], self._corrupted(args[key]), *args[key + 1 :]), kwargs
        if isinstance(key, str) and isinstance(kwargs.get(key), torch.Tensor):
            return args, kwargs | {key: self._corrupted(kwargs[key])}
        return args, kwargs

    def corrupt_result(self, result: Any) -> None:
        tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]
        if tensors:
            tensors[0].copy_(self._corrupted(tensors[0]))

    def _corrupted(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.fault.kind != "stale":
            return corrupt(tensor, self.fault, self.calls)
        last, self._last = self._last, tensor.clone()
        return last if last is not None and last.shape == tensor.shape else tensor.clone()


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
