"""What enters and leaves every layer of a running model, seen by forward hooks and, if wanted, replaced.

Which layers there are is read from the module tree, by the names that a checkpoint has. Code between layers
(residual additions, attention's softmax, the audio splice) has no module of its own: it shows where its result enters
the next layer, and is named by the module that it belongs to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import torch

from model import layout

Edge = Literal["into", "out of"]

WHOLE = "model"
Visit = Callable[["Point", torch.Tensor], torch.Tensor | None]


@dataclass(frozen=True)
class Point:
    """One floating-point tensor at one edge of a layer."""

    layer: str  # the module's path: "encoder.layers.1.conv.up_conv"
    edge: Edge
    call: int  # 0 for the first time that the layer runs in a pass
    index: int  # 0 for the first floating-point tensor there
    owner: str  # whose code computed it: the layer itself at "out of", the module that calls it at "into"
    kind: str  # the layer's class at "out of"; "owner's class > layer's name within it" at "into"

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.layer, self.edge, self.call, self.index

    @property
    def name(self) -> str:
        """As a reader is told, in any language: "encoder.layers.1.conv", "encoder.layers.1.attn > to_out"."""
        if self.edge == "out of":
            return self.layer or WHOLE
        return f"{self.owner or WHOLE} > {_within(self.layer, self.owner)}"


def _within(layer: str, owner: str) -> str:
    return layer.removeprefix(f"{owner}.") if owner else layer


def _any_number(path: str) -> str:
    """A path that is the same for every layer of a list: "layers.N"."""
    return ".".join("N" if part.isdigit() else part for part in path.split("."))


def layers_of(model: torch.nn.Module, *, deep: bool) -> dict[str, torch.nn.Module]:
    """The modules to watch, by path ("" is the model itself): all, or, if not `deep`, those that are not hidden inside
    a part of a repeated layer ("encoder.layers.1.conv" is taken, "encoder.layers.1.conv.up_conv" is not).
    """
    modules = dict(layout.named_modules(model))
    if deep:
        return modules
    repeated = [f"{name}." for name, module in modules.items() if isinstance(module, torch.nn.ModuleList)]
    return {name: module for name, module in modules.items() if _depth(name, repeated) <= 2}


def _depth(name: str, repeated: list[str]) -> int:
    """Path elements below the innermost list of layers: 1 for a layer, 2 for a part of one, 0 outside."""
    within = max((prefix for prefix in repeated if name.startswith(prefix)), key=len, default=None)
    return 0 if within is None else name.removeprefix(within).count(".") + 1


class Hooks:
    """While entered, `visit` is shown every point of every pass; the tensor that it returns takes the place of what it
    was shown, in place, so that the caller's own reference to it (a residual stream) changes as well.
    """

    def __init__(self, model: torch.nn.Module, visit: Visit, *, deep: bool) -> None:
        self._model = model
        self._visit = visit
        self._layers = layers_of(model, deep=deep)
        self._handles: list[Any] = []
        self._running: list[tuple[str, str]] = []
        self._calls: Counter[str] = Counter()
        # A parameter may be handed to a layer (the Q-Former's queries): it is looked at and never written.
        self._kept = {
            (tensor.device, tensor.untyped_storage().data_ptr())  # two cards may have the same address
            for tensor in (*model.parameters(), *model.buffers())
            if tensor.device.type != "meta"
        }

    def __enter__(self) -> Hooks:
        self._running.clear()
        self._calls.clear()
        for name, module in self._layers.items():
            self._handles.append(module.register_forward_pre_hook(self._entering(name), with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._leaving(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _entering(self, name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            if not self._running:
                self._calls.clear()  # a new pass
            else:
                owner, owner_class = self._running[-1]
                kind = f"{owner_class} > {_any_number(_within(name, owner))}"
                for index, tensor in enumerate(floating((args, kwargs))):
                    self._show(Point(name, "into", self._calls[name], index, owner, kind), tensor)
            self._running.append((name, type(module).__name__))

        return hook

    def _leaving(self, name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            self._running.pop()
            for index, tensor in enumerate(floating(output)):
                self._show(Point(name, "out of", self._calls[name], index, name, type(module).__name__), tensor)
            self._calls[name] += 1

        return hook

    def _show(self, point: Point, tensor: torch.Tensor) -> None:
        new = self._visit(point, tensor)
        if new is not None and self._may_write(tensor):
            tensor.copy_(new)

    def _may_write(self, tensor: torch.Tensor) -> bool:
        expanded = any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
        return not expanded and (tensor.device, tensor.untyped_storage().data_ptr()) not in self._kept


def floating(value: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors in arguments or an output, in order: tensors, sequences, mappings, output objects."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and value.numel():
            yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from floating(item)
    elif isinstance(value, Mapping):
        yield from floating(list(value.values()))
