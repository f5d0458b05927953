"""The emulated device's kernels: every aten kernel of torch-npu is replaced by one that runs the op on CPU tensors over
the same bytes. Allocation, views, copies and the routing of attention stay torch-npu's own.

Imported by site/sitecustomize.py right after torch_npu, never by the program itself.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Iterable
from typing import Any, Protocol

import torch
import torch_npu
from torch.utils._pytree import tree_map, tree_map_only

from . import arithmetic
from .arithmetic import Kernel, as_the_chip
from .library import runtime_library
from .task_queue import TaskQueue

KEY = "PrivateUse1"  # torch's name for an out-of-tree device's dispatch key
CPU = torch.device("cpu")
CAUSAL = 2  # sparse_mode of the fused attention: lower triangle, aligned to the upper left

# Kept as torch-npu has them besides views: they allocate, rearrange storages or copy bytes, which acl.c does.
KEPT = frozenset(
    {
        "empty.memory_format", "empty_strided", "empty_like", "new_empty_strided", "resize_", "resize_as_",
        "set_", "set_.source_Storage", "set_.source_Storage_storage_offset", "set_.source_Tensor", "data",
        "record_stream", "is_pinned", "_pin_memory", "pin_memory", "_copy_from_and_resize", "_local_scalar_dense",
        "_to_copy", "to.device", "to.dtype", "to.other", "to.dtype_layout", "squeeze", "squeeze.dim", "unsqueeze",
        "scaled_dot_product_attention",
    }
)  # fmt: skip
# Ops whose contract allows host tensors beside device ones (beyond 0-dimensional ones, which every op takes).
MIXED = frozenset(
    {"copy_", "_copy_from", "index.Tensor", "index.Tensor_out", "index_put", "index_put_", "_index_put_impl_"}
)
COPIES = frozenset({"copy_", "_copy_from"})  # from card to card


class Interceptor(Protocol):
    """Sees each op of the emulated device on its CPU views, and may change what goes in and what comes out."""

    def before(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to run with. May also raise, wait, or end the process."""

    def after(self, op: str, result: Any) -> None:
        """May change the result's values in place, before the device sees them."""


CAST = as_the_chip("cast", torch.Tensor.to)

queue = TaskQueue()
interceptors: list[Interceptor] = []
card = 0  # the device whose op the interceptors see
device_is_lost = runtime_library().npu_emulator_device_lost


def host_view(tensor: torch.Tensor) -> torch.Tensor:
    """A CPU tensor over the bytes of an emulated device tensor: same shape, strides and dtype."""
    nbytes = _span(tensor)
    if nbytes == 0:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    memory = (ctypes.c_char * nbytes).from_address(tensor.data_ptr())
    flat = torch.frombuffer(memory, dtype=tensor.dtype, count=nbytes // tensor.element_size())
    return flat.as_strided(tensor.shape, tensor.stride())


def fresh(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Memory of the device's own allocator with the strides of a tensor: it holds what was there before."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


def device_copy(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A device tensor with the strides and values of a CPU tensor, in memory of the device's own allocator."""
    made = fresh(tensor, device)
    nbytes = _span(tensor)
    if nbytes:
        ctypes.memmove(made.data_ptr(), tensor.data_ptr(), nbytes)
    return made


def _span(tensor: torch.Tensor) -> int:
    """Bytes from the first to the last element."""
    if tensor.numel() == 0:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


class _Call:
    """The arguments of one call turned from device to host and its results back."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []  # device tensor, its host view
        self.device: torch.device | None = None
        self.card: torch.device | None = None  # of the first tensor with dimensions
        self.other_card: torch.device | None = None  # of one after it that is elsewhere
        self.host_tensor = False  # a host tensor with dimensions was passed
        self.to_host = False  # the op was asked for a result on CPU
        self.dropped = queue.stopped  # nothing of the device may change

    def to_cpu(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, torch.device):
            if value.type == "npu":
                self.device = value
                return CPU
            self.to_host = True
        return value

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "npu":
            self.host_tensor = self.host_tensor or tensor.dim() > 0
            return tensor
        if tensor.dim() > 0:
            if self.card not in (None, tensor.device):
                self.other_card = tensor.device
            self.card = self.card or tensor.device
        self.device = self.card or tensor.device
        for device_tensor, view in self.pairs:
            if device_tensor is tensor:
                return view
        view = host_view(tensor).clone() if self.dropped else host_view(tensor)
        self.pairs.append((tensor, view))
        return view

    def current_device(self) -> torch.device:
        device = self.device
        if device is None or device.index is None:
            return torch.device("npu", torch_npu.npu.current_device())
        return device

    def to_npu(self, tensor: torch.Tensor) -> torch.Tensor:
        """An argument itself, a view of an argument, or new device memory."""
        if tensor.device.type != "cpu":
            return tensor
        for device_tensor, view in self.pairs:
            if view is tensor:
                return device_tensor
            if _shares_memory(view, tensor):
                offset = device_tensor.storage_offset() + tensor.storage_offset()
                return device_tensor.as_strided(tensor.shape, tensor.stride(), offset)
        return fresh(tensor, self.current_device()) if self.dropped else device_copy(tensor, self.current_device())

    def write_back_resized(self, shapes: Iterable[torch.Size]) -> None:
        """An `out=` argument that the op resized has left its bytes: bring them to the device."""
        for (device_tensor, view), shape in zip(self.pairs, shapes, strict=True):
            if view.shape != shape:
                device_tensor.resize_(view.shape)
                ctypes.memmove(device_tensor.data_ptr(), view.data_ptr(), _span(view))


def _shares_memory(view: torch.Tensor, result: torch.Tensor) -> bool:
    if view.numel() == 0 or result.numel() == 0 or view.dtype != result.dtype:
        return False
    return view.untyped_storage().data_ptr() == result.untyped_storage().data_ptr()


def _host_kernel(name: str, op: Any) -> Kernel:
    """The kernel of aten op `name`, run on CPU."""
    compute = as_the_chip(name, op)
    random = torch.Tag.nondeterministic_seeded in op.tags
    takes_generator = any(argument.name == "generator" for argument in op._schema.arguments)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        if device_is_lost():
            torch_npu.npu.synchronize()  # raises what torch-npu makes of it
        queue.take(name)
        call = _Call()
        with torch._C._AutoDispatchBelowAutograd():
            generator = kwargs.pop("generator", None) if takes_generator else None
            host_args, host_kwargs = tree_map(call.to_cpu, (args, kwargs))
            if call.host_tensor and call.pairs and name not in MIXED:
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"{call.current_device()} and cpu! (aten::{name})"
                )
            if call.other_card is not None and name not in COPIES:
                # c10's common_device_check_failure, which torch-npu's generated kernels call for each argument.
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"{call.card} and {call.other_card}! (aten::{name})"
                )
            _shown_on(call.current_device())
            for interceptor in interceptors:
                host_args, host_kwargs = interceptor.before(name, host_args, host_kwargs)
            call.dropped = queue.stopped
            shapes = [view.shape for _, view in call.pairs]
            if random and not call.to_host:
                source = _host_generator(generator, call.current_device())
                result = _run_seeded(op, source, takes_generator, host_args, host_kwargs)
            else:
                result = compute(*host_args, **host_kwargs)
            for interceptor in interceptors:
                interceptor.after(name, result)
            call.write_back_resized(shapes)
            if call.to_host:
                return result
            return tree_map_only(torch.Tensor, call.to_npu, result)

    return kernel


def _shown_on(device: torch.device) -> None:
    global card
    card = device.index or 0


def _host_generator(generator: torch.Generator | None, device: torch.device) -> torch.Generator:
    """A CPU generator for one op, fixed by the seed and the offset of the device's generator, which moves on.

    So manual_seed, get_state and set_state of torch.npu reach every random op, and the CPU's own stream is untouched.
    """
    own = torch_npu.npu.default_generators[device.index] if generator is None else generator
    state = own.get_state()  # 16 bytes: seed, then offset, as torch's other counter-based generators keep them
    seed, offset = (int(part) for part in state.view(torch.int64))
    moved = state.clone()
    moved.view(torch.int64)[1] = offset + 4  # the counter is kept in multiples of four
    own.set_state(moved)
    mixed = (seed * 0x9E3779B97F4A7C15 + offset * 0xBF58476D1CE4E5B9) & 0x7FFF_FFFF_FFFF_FFFF
    return torch.Generator().manual_seed(mixed)


def _run_seeded(
    op: Any, source: torch.Generator, takes_generator: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if takes_generator:
        return op(*args, **kwargs, generator=source)
    saved = torch.default_generator.get_state()  # native_dropout and its like have no generator argument
    try:
        torch.default_generator.set_state(source.get_state())
        return op(*args, **kwargs)
    finally:
        torch.default_generator.set_state(saved)


def _fused_attention(op: Any) -> Kernel:
    """The fused op that torch-npu's own scaled_dot_product_attention ends in, for what that asks of it.

    Its name and the rest of its results depend on the torch-npu release; the schema tells both.
    """
    schema = op._schema
    names = [argument.name for argument in schema.arguments]
    rest = [str(value.type) for value in schema.returns[1:]]

    def kernel(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False)) | kwargs
        query, key, value = (host_view(given[name]) for name in ("query", "key", "value"))
        layout, sparse_mode = given["input_layout"], given.get("sparse_mode", 0)
        if layout != "BNSD" or sparse_mode not in (0, CAUSAL) or given.get("pse") is not None:
            raise NotImplementedError(f"emulated {schema.name}: layout {layout}, sparse_mode {sparse_mode}")
        mask = given.get("atten_mask") if sparse_mode == 0 else None  # causal: the mask is a compressed constant
        allowed = None if mask is None else ~host_view(mask).bool()  # True is masked out here, kept in in torch
        name = schema.name.partition("::")[2]
        with torch._C._AutoDispatchBelowAutograd():
            _shown_on(given["query"].device)
            for interceptor in interceptors:
                (query, key, value), _ = interceptor.before(name, (query, key, value), {})
            result = torch.ops.aten.scaled_dot_product_attention(
                query, key, value, allowed, is_causal=sparse_mode == CAUSAL, scale=given.get("scale", 1.0),
                enable_gqa=query.shape[1] != key.shape[1],
            )  # fmt: skip
            for interceptor in interceptors:
                interceptor.after(name, result)
            device = given["query"].device
            queue.take(name)
            made = fresh if queue.stopped else device_copy
            unused = [torch.empty(0, device=device) if kind == "Tensor" else 0 for kind in rest]
            return (made(result, device), *unused)  # unused: statistics for the backward pass

    return kernel


def _copy(op: Any) -> Kernel:
    """copy_: bytes that go between host and device as they are stay torch-npu's and so reach aclrtMemcpy."""
    own = torch.library.get_kernel("aten::copy_", KEY)
    on_host = _host_kernel("copy_", op)

    def kernel(keys: Any, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> Any:
        across = target.device.type != source.device.type
        alike = target.dtype == source.dtype and target.shape == source.shape
        if across:
            queue.wait()
        if across and alike and target.is_contiguous() and source.is_contiguous():
            return own.call_boxed(keys, target, source, non_blocking)
        return on_host(target, source, non_blocking)

    return kernel


def _float_status(tensor: torch.Tensor) -> torch.Tensor:
    """The float status of a chip that saturates, in the first of eight numbers."""
    status = torch.zeros(8)
    status[0] = float(arithmetic.overflowed)
    return device_copy(status, tensor.device)


def _clear_float_status(tensor: torch.Tensor) -> torch.Tensor:
    arithmetic.overflowed = False
    return device_copy(torch.zeros(8), tensor.device)


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.dtype == dtype:
        return tensor
    queue.take("cast")
    return (fresh if queue.stopped else device_copy)(CAST(host_view(tensor), dtype), tensor.device)


def _is_view(op: Any) -> bool:
    alias = op._schema.returns[0].alias_info if op._schema.returns else None
    return alias is not None and not alias.is_write


def _overload(full_name: str) -> Any:
    name, _, overload = full_name.partition(".")
    packet = getattr(torch.ops.aten, name, None)
    return getattr(packet, overload or "default", None)


def _library(namespace: str) -> Any:
    return torch.library.Library(namespace, "IMPL")  # type: ignore[no-untyped-call]


def _synchronize(synchronize: Any) -> Any:
    """torch.npu.synchronize, which waits for the queue first, as torch-npu's own does."""

    @functools.wraps(synchronize)
    def run(*args: Any, **kwargs: Any) -> None:
        queue.wait()
        synchronize(*args, **kwargs)

    return run


def install() -> list[Any]:
    """Replace torch-npu's kernels. The returned libraries must stay alive: their kernels leave with them."""
    aten, npu = _library("aten"), _library("npu")
    torch_npu.npu.synchronize = _synchronize(torch_npu.npu.synchronize)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of each kernel that is replaced, which is the purpose here
        for registered in torch._C._dispatch_get_registrations_for_dispatch_key(KEY):
            namespace, _, name = registered.partition("::")
            op = _overload(name) if namespace == "aten" and name not in KEPT else None
            if op is None or _is_view(op):
                continue
            if name == "copy_":
                aten.impl(name, _copy(op), KEY, with_keyset=True)
            elif torch._C._dispatch_has_computed_kernel_for_dispatch_key(registered, "CPU"):
                aten.impl(name, _host_kernel(name, op), KEY)
        for name in ("npu_fusion_attention", "npu_fusion_attention_v3"):
            packet = getattr(torch.ops.npu, name, None)
            if packet is not None:
                npu.impl(name, _fused_attention(packet.default), KEY)
                npu.impl(name, _fused_attention(packet.default), f"Autograd{KEY}")
        for name in ("_npu_dtype_cast", "npu_dtype_cast"):
            npu.impl(name, _cast, KEY)
        npu.impl("npu_get_float_status", _float_status, KEY)
        npu.impl("npu_clear_float_status", _clear_float_status, KEY)
    return [aten, npu]
