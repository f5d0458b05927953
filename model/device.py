"""The device that --device names: there or refused with what is missing, timed, measured and named.

torch is imported here and nowhere earlier, because two things must come first: TORCH_DEVICE_BACKEND_AUTOLOAD=0
(with torch-npu installed and CANN absent a bare `import torch` raises), and, off the NPU, hiding torch_npu from
transformers, which imports it unguarded (transformers 4.57.6, utils/import_utils.py, is_torch_npu_available).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from env import npu_emulator
from env.device_name import KINDS, DeviceName, Kind
from env.errors import BundleError, DeviceError, EnvironmentMissingError, OutOfMemoryError, UsageError
from env.language import _
from model.size import FULL_SIZE

if TYPE_CHECKING:
    import torch

REPORTED = ("torch", "torch-npu", "transformers", "numpy", "safetensors", "tokenizers")
# "NPU out of memory. Tried to allocate" is a plain RuntimeError in torch-npu 2.9.0; the CPU allocator's is too.
OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
# The chips that aclnnGeluV2 runs on, Atlas A2 and A3, as the runtime names them (CANN ops-nn, activation/gelu_v2).
WITH_GELU_V2 = re.compile(r"Ascend910(B\d|_9)")
NPU_ERROR_CODE = re.compile(r"error code is (\d+)|ERR\d{5}")


@dataclass(frozen=True)
class Device:
    """A device that answered."""

    kind: Kind
    index: int
    asked: str

    @property
    def label(self) -> str:
        """As torch spells it: "npu:0", "cuda:1", "cpu"."""
        return DeviceName(self.kind, self.index).label

    @property
    def torch_device(self) -> torch.device:
        import torch

        return torch.device(self.label)

    @property
    def _api(self) -> Any:
        """torch.npu or torch.cuda, which answer to the same names."""
        import torch

        return getattr(torch, self.kind)

    def synchronize(self) -> None:
        """Wait until the device has done its work; times are taken after this."""
        if self.kind != "cpu":
            self._api.synchronize(self.index)

    @property
    def name(self) -> str:
        return _cpu_name() if self.kind == "cpu" else str(self._api.get_device_name(self.index))

    @property
    def total_memory_bytes(self) -> int | None:
        if self.kind == "cpu":
            return _proc_kilobytes(Path("/proc/meminfo"), "MemTotal")
        return int(self._api.get_device_properties(self.index).total_memory)

    def reset_peak_memory(self) -> bool:
        """Start counting the peak anew. False where the host does not allow it: the peak is then the process's."""
        if self.kind != "cpu":
            self._api.reset_peak_memory_stats(self.index)
            return True
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
        except OSError:
            return False
        return True

    def peak_memory(self) -> dict[str, Any]:
        """{"kind": "device" or "rss", "peak_bytes": int or None} since the last reset."""
        if self.kind == "cpu":
            return {"kind": "rss", "peak_bytes": _proc_kilobytes(Path("/proc/self/status"), "VmHWM")}
        return {"kind": "device", "peak_bytes": int(self._api.max_memory_allocated(self.index))}

    def empty_cache(self) -> None:
        if self.kind != "cpu":
            self._api.empty_cache()


def resolve(asked: str) -> Device:
    """The device that `asked` names, after it has answered: "auto", "cpu", "npu", "npu:0", "cuda:1", ...

    Raises:
        UsageError: no such spelling.
        EnvironmentMissingError: this Python has no torch at all.
        DeviceError: it is not there; the message says what is missing and which command shows it.
    """
    prepare_process()
    try:
        name = DeviceName.parse(asked)
    except ValueError as error:
        raise UsageError(error.args[0], next=_("--device npu:0, cuda:0, cpu or auto")) from error
    if name.several:
        raise UsageError(
            _("{device} names several cards, and this runs on one", device=asked),
            next=_("nox -s verify -- --device {device} verifies each of them", device=asked),
        )
    if name.kind is None:
        return _first_present()
    device = Device(name.kind, name.index, asked)
    _require(device)
    return device


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise EnvironmentMissingError(
            _("{python} has no torch", python=sys.executable),
            why=_("the model runs in the environment that setup builds, not in every Python"),
            next=_(
                "nox -s setup, then .venvs/host/bin/python (on an NPU .venvs/npu/bin/python) with the same arguments"
            ),
        )


def prepare_process() -> None:
    """Set what must be set before torch is imported. The user's own settings win."""
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    # Waiting threads sleep instead of spinning: on a shared machine 1.8 to 2.9 times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def deterministic() -> bool:
    """Whether this process asks its device for the same bits in every run."""
    import torch

    return torch.are_deterministic_algorithms_enabled()


def set_threads(parameters: int) -> int:
    """Choose the CPU threads for a model of that size and return their number; OMP_NUM_THREADS wins."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if parameters < FULL_SIZE else len(os.sched_getaffinity(0)))
    return torch.get_num_threads()


def _first_present() -> Device:
    _require_torch()
    for kind in KINDS:
        device = Device(kind, 0, "auto")
        with contextlib.suppress(DeviceError):
            _require(device)
            return device
    raise AssertionError("the CPU is always present")


def _require(device: Device) -> None:
    if device.kind == "npu":
        _require_npu(device)
        return
    _require_torch()
    if "torch_npu" not in sys.modules and importlib.util.find_spec("torch_npu") is not None:
        sys.modules["torch_npu"] = None  # type: ignore[assignment]  # find_spec then says: not installed
    if device.kind == "cuda":
        _require_cuda(device)


def _require_npu(device: Device) -> None:
    if importlib.util.find_spec("torch_npu") is None:
        nodes = sorted(path.name for path in Path("/dev").glob("davinci[0-9]*"))
        host = (
            _("the driver is there ({nodes})", nodes=", ".join(nodes))
            if nodes
            else _("this machine has no NPU driver (/dev/davinci*)")
        )
        raise DeviceError(
            _(
                "{device} was asked for, and torch_npu is not installed in {python}",
                device=device.asked,
                python=sys.executable,
            ),
            why=_("{host}; the npu environment is another one than this Python's, or was never set up", host=host),
            next=_("python -m env probe, then nox -s setup -- --device npu:0; or --device cpu"),
        )
    _require_torch()
    version = _version("torch-npu")
    import torch

    try:
        import torch_npu  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(
            _(
                "{device} was asked for, and torch_npu {version} does not load: {error}",
                device=device.asked,
                version=version,
                error=_first_line(error),
            ),
            why=_("CANN's libraries are not installed, or not on the loader's path in this shell"),
            next=_(
                "source /usr/local/Ascend/cann/set_env.sh (before CANN 8.5: ascend-toolkit/set_env.sh), "
                "then python -m env probe"
            ),
        ) from error
    _require_count(device, "npu-smi info")
    _deterministic()
    try:
        torch.npu.set_device(device.index)  # type: ignore[attr-defined]
        torch.zeros(1, device=device.torch_device).cpu()
        _compatible(device)
    except RuntimeError as error:
        raise DeviceError(
            _("{device} does not answer: {error}", device=device.label, error=_first_line(error)),
            why=_("it is in use by another process, unhealthy, or not given to this container"),
            next=_("npu-smi info, then python -m env probe"),
        ) from error


def _deterministic() -> None:
    """Ask CANN for the same bits in every run, which by default it does not promise: matrix products, addmm and batch
    norm may add up in another order each time ("Deterministic Computation" in CANN's operator library documents).

    Before the first operator, since only the first setting of a thread takes effect there. torch.empty stays empty.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _compatible(device: Device) -> None:
    """Ask torch-npu for torch's own definition of GELU, which it has since 2.9.0.post1; later ones switch more with it.

    Before the first GELU: the answer is kept from there on (op-plugin, GeluKernelNpuOpApi.cpp). What then is computed
    is measured (model/gelu.py).
    """
    import torch

    switch = getattr(torch.npu, "use_compatible_impl", None)  # type: ignore[attr-defined]
    if switch is not None and WITH_GELU_V2.match(device.name):
        switch(True)


def _require_cuda(device: Device) -> None:
    import torch

    if torch.version.cuda is None:
        raise DeviceError(
            _(
                "{device} was asked for, and torch {version} is built without CUDA",
                device=device.asked,
                version=torch.__version__,
            ),
            next=_("python -c 'import torch; print(torch.version.cuda)'; or --device cpu"),
        )
    _require_count(device, "nvidia-smi")
    try:
        torch.zeros(1, device=device.torch_device).cpu()
    except RuntimeError as error:
        raise DeviceError(
            _("{device} does not answer: {error}", device=device.label, error=_first_line(error)), next="nvidia-smi"
        ) from error


def _require_count(device: Device, command: str) -> None:
    try:
        count = int(device._api.device_count())
    except RuntimeError as error:
        raise DeviceError(f"{device.kind}: {_first_line(error)}", next=command) from error
    if count == 0:
        raise DeviceError(
            _(
                "{device} was asked for, and the runtime finds no {kind} device",
                device=device.asked,
                kind=device.kind,
            ),
            why=_(
                "no card, no driver, or none visible to this process (ASCEND_RT_VISIBLE_DEVICES, CUDA_VISIBLE_DEVICES)"
            ),
            next=_("{command}; or --device cpu", command=command),
        )
    if device.index >= count:
        names = ", ".join(DeviceName(device.kind, index).label for index in range(count))
        raise DeviceError(
            _(
                "{device} was asked for, and the runtime finds {count}: {names}",
                device=device.asked,
                count=count,
                names=names,
            ),
            next=_("--device one of {names}", names=names),
        )


@contextlib.contextmanager
def runtime_errors(device: Device, doing: str) -> Iterator[None]:
    """Turn what a device runtime raises while `doing` something into this bundle's errors.

    Raises:
        OutOfMemoryError: the device or the host ran out of memory.
        DeviceError: the NPU runtime reported an error code.
    """
    try:
        yield
    except BundleError:
        raise
    except MemoryError as error:
        raise _out_of_memory(device, doing, _("the host has no memory left")) from error
    except RuntimeError as error:
        if OUT_OF_MEMORY.search(str(error)):
            raise _out_of_memory(device, doing, _first_line(error)) from error
        code = NPU_ERROR_CODE.search(str(error)) if device.kind == "npu" else None
        if code is not None:
            raise DeviceError(
                _(
                    "{device} failed while {doing}: {error}",
                    device=device.label,
                    doing=doing,
                    error=_first_line(error),
                ),
                why=_("the NPU runtime reported {code}", code=code[0]),
                next=_("npu-smi info, then python -m env doctor"),
            ) from error
        raise


def _out_of_memory(device: Device, doing: str, why: str) -> OutOfMemoryError:
    fields = {"device": device.label, "doing": doing}
    total = device.total_memory_bytes
    what = (
        _("{device} of {size:.0f} GiB ran out of memory while {doing}", size=total / 2**30, **fields)
        if total
        else _("{device} ran out of memory while {doing}", **fields)
    )
    show = {"npu": "npu-smi info", "cuda": "nvidia-smi", "cpu": "free -g"}[device.kind]
    return OutOfMemoryError(
        what,
        why=why,
        next=_("{show}; then a smaller --batch-size or --seq-len, or --dtype bfloat16", show=show),
    )


def emulated() -> bool:
    """True where an NPU emulator is in this process; no option hides it."""
    return npu_emulator.active()


def versions() -> dict[str, str]:
    """Python and the installed versions that a figure depends on; CANN's where torch_npu is loaded."""
    installed = {"python": platform.python_version()}
    installed |= {name: version for name in REPORTED if (version := _version(name))}
    torch_npu = sys.modules.get("torch_npu")
    if torch_npu is not None:
        installed["cann"] = str(getattr(sys.modules["torch"].version, "cann", None))
    return installed


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _cpu_name() -> str:
    """The CPU's name; /proc/cpuinfo of aarch64 has only the implementer's and the part's numbers."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _colon, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:
        return f"{platform.machine()} implementer {fields.get('CPU implementer')} part {fields['CPU part']}"
    return platform.machine()


def _proc_kilobytes(path: Path, field: str) -> int | None:
    with contextlib.suppress(OSError):
        match = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    return None
