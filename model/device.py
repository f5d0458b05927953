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
from typing import TYPE_CHECKING, Any, ClassVar

from env import npu_emulator
from env.device_name import KINDS, DeviceName, Kind
from env.errors import BundleError, DeviceError, EnvironmentMissingError, OutOfMemoryError, UsageError
from env.language import _
from model import cpu, npu, startup
from model.size import FULL_SIZE

if TYPE_CHECKING:
    import torch

REPORTED = ("torch", "torch-npu", "transformers", "numpy", "safetensors", "tokenizers")
# Plain RuntimeErrors all of them: torch-npu's and the CPU's allocator, and what CANN says beside torch-npu's.
OUT_OF_MEMORY = re.compile(
    rf"out of memory|can't allocate memory|not enough memory|{npu.CANN_OUT_OF_MEMORY}", re.IGNORECASE
)


@dataclass(frozen=True)
class Device:
    """A device that answered."""

    kind: Kind
    index: int
    asked: str
    split: ClassVar[bool] = False  # whether a model lies over it and others, or the host's memory (model/cards.py)

    @property
    def label(self) -> str:
        """As torch spells it: "npu:0", "cuda:1", "cpu"."""
        return DeviceName(self.kind, self.index).label

    @property
    def cards(self) -> tuple[Device, ...]:
        """Each card by itself, the first one first."""
        return (self,)

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
        return cpu.name() if self.kind == "cpu" else str(self._api.get_device_name(self.index))

    @property
    def total_memory_bytes(self) -> int | None:
        if self.kind == "cpu":
            return cpu.kilobytes(Path("/proc/meminfo"), "MemTotal")
        return int(self._api.get_device_properties(self.index).total_memory)

    def refusal(self, dtype: str) -> str | None:
        """Why it cannot compute in a dtype, as a sentence; None where it can."""
        return npu.refusal(self.name, dtype) if self.kind == "npu" else None

    def overflowed(self, *, clear: bool = False) -> bool | None:
        """As npu.overflowed; None where an overflow gives infinity, which a look at the numbers shows."""
        return npu.overflowed(clear=clear) if self.kind == "npu" else None

    @property
    def physical(self) -> dict[str, Any] | None:
        """Which card of the machine it is; None of what is no card."""
        if self.kind == "cpu":
            return None
        if self.kind == "npu":
            return npu.physical(self.index)
        uuid = getattr(self._api.get_device_properties(self.index), "uuid", None)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"visible": visible, "index": self.index, "uuid": str(uuid) if uuid else None}

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
            return {"kind": "rss", "peak_bytes": cpu.kilobytes(Path("/proc/self/status"), "VmHWM")}
        return {"kind": "device", "peak_bytes": int(self._api.max_memory_allocated(self.index))}

    def used_memory(self) -> int | None:
        """Bytes of the device that are in use by whatever runs on it, CANN's own among them; None of a CPU."""
        if self.kind == "cpu":
            return None
        free, total = self._api.mem_get_info(self.index)
        return int(total - free)

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
            next=_("nox -s verify -- --device {device} verifies each; --device-map auto splits one", device=asked),
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
        with startup.importing(startup.TORCH_NPU):
            import torch_npu  # noqa: F401
    except Exception as error:  # _cann_package_check of torch_npu/utils/npu_intercept.py raises plain ones
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
    npu.deterministic()
    try:
        with startup.timed(startup.SET_DEVICE):
            torch.npu.set_device(device.index)  # type: ignore[attr-defined]
        npu.precompiled()
        torch.zeros(1, device=device.torch_device).cpu()
        npu.compatible(device.name)
    except RuntimeError as error:
        raise DeviceError(
            _("{device} does not answer: {error}", device=device.label, error=_first_line(error)),
            why=_("it is in use by another process, unhealthy, or not given to this container"),
            next=_("npu-smi info, then python -m env probe"),
        ) from error


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
        with startup.timed(startup.SET_DEVICE):
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
        code = npu.ERROR_CODE.search(str(error)) if device.kind == "npu" else None
        if code is not None:
            raise _npu_error(device, doing, error, code[0]) from error
        raise


def _npu_error(device: Device, doing: str, error: BaseException, code: str) -> DeviceError:
    what = _("{device} failed while {doing}: {error}", device=device.label, doing=doing, error=_first_line(error))
    why = _("the NPU runtime reported {code}", code=code)
    if npu.LATE not in str(error):
        return DeviceError(what, why=why, next=_("npu-smi info, then python -m env doctor"))
    return DeviceError(
        what,
        why=_("{why}, late: an operator before this one failed", why=why),
        next=_(
            "{variable} before the same command names the operator; then python -m env doctor", variable=npu.BLOCKING
        ),
    )


def _out_of_memory(device: Device, doing: str, why: str) -> OutOfMemoryError:
    """The error with what would need less. Only what an NPU's allocator refuses leaves its process as it was."""
    fields = {"device": device.label, "doing": doing}
    total = device.total_memory_bytes
    what = (
        _("{device} of {size:.0f} GiB ran out of memory while {doing}", size=total / 2**30, **fields)
        if total
        else _("{device} ran out of memory while {doing}", **fields)
    )
    show = {"npu": "npu-smi info", "cuda": "nvidia-smi", "cpu": "free -g"}[device.kind]
    narrow = "bfloat16" if device.kind != "npu" or npu.has_bfloat16() else "float16"
    return OutOfMemoryError(
        what,
        why=why,
        next=_("{show}; then a smaller --batch-size or --seq-len, or --dtype {dtype}", show=show, dtype=narrow),
        again=device.kind != "npu" or npu.REFUSED_BY_THE_ALLOCATOR in why,
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
