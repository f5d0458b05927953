"""What must be right with a machine before setup downloads anything: each lack named, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator

from env.errors import HostError, PythonVersionError, StorageError
from env.probe import Host
from env.stack import load_stack

NEEDED_BYTES = {"host": 10 * 2**30, "npu": 4 * 2**30}  # environment and download; measured: host 7 GB on disk


def preflight(host: Host, *, device: str, profile: str) -> None:
    """Stop setup where it cannot end well.

    Raises:
        PythonVersionError: the running Python is outside the declared stack.
        HostError: an NPU profile, and driver, device nodes or CANN are missing.
        StorageError: the disk has no room for the environment.
    """
    stack = load_stack()
    if not any(host.python.version.startswith(f"{python}.") for python in stack.pythons):
        raise PythonVersionError(
            f"Python {host.python.version} is outside the declared stack ({', '.join(stack.pythons)})",
            next=f"python{stack.reference_python} -m venv venv && . venv/bin/activate, then the main job again",
        )
    lacks = list(_npu_lacks(host)) if profile == "npu" else []
    if lacks:
        raise HostError(
            f"device {device} was asked for, and this machine lacks: " + "; ".join(lacks),
            why="no Ascend host, or a container without the driver's mounts",
            next="python -m env probe",
        )
    room = next((disk for disk in host.system.disks if disk.use == "environments"), None)
    if room and room.free < NEEDED_BYTES[profile]:
        raise StorageError(
            f"{room.path} has {room.free / 2**30:.1f} GiB free, the {profile} environment needs "
            f"{NEEDED_BYTES[profile] / 2**30:.0f} GiB",
            next=f"df -h {room.path}",
        )


def _npu_lacks(host: Host) -> Iterator[str]:
    if host.driver is None:
        yield "the driver (no /usr/local/Ascend/driver/version.info)"
    if not host.davinci:
        yield "device nodes (no /dev/davinci0)"
    if host.npu_smi.status == "missing":
        yield "npu-smi"
    if not host.toolkits:
        yield f"CANN {load_stack().cann_series}.x (neither /usr/local/Ascend/cann nor ascend-toolkit)"
