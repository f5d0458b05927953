"""Figures of the machine, the environment and the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType, field

from env.language import Message
from verify.reference.figures import Count, Figures, OperatorFigures, Size


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a host that are shown and never judged: another version of the bundle may have recorded others."""


class DriverFacts(Facts, frozen=True, kw_only=True):
    """The NPU's driver: the HDK release and the driver's own version."""

    hdk: str | None
    innerversion: str | None


class FirmwareFacts(Facts, frozen=True, kw_only=True):
    """The NPU's firmware."""

    hdk: str | None
    version: str | None


class CannFacts(Facts, frozen=True, kw_only=True):
    """The CANN toolkit, and the chips that it has kernels for."""

    release: str | None = None
    build: str | None = None
    chips: list[str] = field(default_factory=list)


class NpuSmiFacts(Facts, frozen=True, kw_only=True):
    """What became of `npu-smi info`."""

    status: str
    version: str | None


class ChipFacts(Facts, frozen=True, kw_only=True):
    """One chip as npu-smi lists it; memory in MB."""

    npu: int | None
    chip: int | None
    name: str | None
    health: str | None
    memory_used_mb: int | None
    memory_mb: int | None
    bus: str | None = None
    physical: int | None = None  # the number of its node, /dev/davinciN


class DeviceCounts(Facts, frozen=True, kw_only=True):
    """How many NPUs each source shows."""

    pci: int
    nodes: int
    npu_smi: int
    hal: int | None


class HostFacts(Facts, frozen=True, kw_only=True):
    """The facts of a machine that a reader compares; those of an NPU are left out where there is none."""

    machine: str  # "aarch64"
    os: str | None
    kernel: str | None
    libc: str | None
    container: str | bool | None
    cpus: int | None
    memory_bytes: int | None
    memory_available_bytes: int | None = None
    disk_free_bytes: int | None = None  # where environments are built
    python: str | None = None
    driver: DriverFacts | str | UnsetType | None = UNSET
    firmware: FirmwareFacts | str | UnsetType | None = UNSET
    cann: CannFacts | UnsetType | None = UNSET
    nnal: str | UnsetType | None = UNSET
    npu_smi: NpuSmiFacts | UnsetType = UNSET
    chips: list[ChipFacts] | UnsetType = UNSET
    devices: DeviceCounts | UnsetType = UNSET  # how many each source shows
    packages: dict[str, str | None] | UnsetType = UNSET


class FindingFigures(Figures, frozen=True, kw_only=True):
    """One finding of the audit."""

    id: str
    severity: Literal["error", "warning", "note"]
    what: Message
    why: Message
    show: Message
    fix: Message
    source: str


class MachineFigures(Figures, frozen=True, kw_only=True):
    """Of `machine`: the host, and what the audit finds about it."""

    host: HostFacts
    findings: list[FindingFigures]
    ascend_host: bool


class PackageRow(Figures, frozen=True, kw_only=True):
    """A declared package and what is installed of it."""

    name: str
    asked: str | None
    found: str | None
    ok: bool
    substituted: bool = False  # another version, and setup was allowed to take it


class PythonRow(Figures, frozen=True, kw_only=True):
    """The releases that are declared, and the one that runs."""

    asked: list[str]
    found: str
    ok: bool


class LockFigures(Figures, frozen=True, kw_only=True):
    """The lock of the environment, and its pins that are not installed as locked."""

    name: str | None
    drifted: list[str]


class PackagesFigures(Figures, frozen=True, kw_only=True):
    """Of `packages`: the environment beside what the stack declares and the lock pins."""

    rows: list[PackageRow]
    python: PythonRow
    lock: LockFigures | None = None


class OperationFigures(Figures, frozen=True, kw_only=True):
    """One operation on the device: a square matrix product of `size` rows, exact where the device is right."""

    name: str = ""
    size: Count = 0
    max_abs: Size | None


class GeluFigures(Figures, frozen=True, kw_only=True):
    """Which form of GELU the device computes in float32, by its largest distance from either."""

    form: Literal["erf", "tanh", "neither"]
    erf_error: float | None  # None where it is not finite
    tanh_error: float | None
    switched: bool | None = None  # torch-npu's compatible implementation; None where it has none


class CardTried(Figures, frozen=True, kw_only=True):
    """One more card of a model that is split: what answers there, and whether it computes."""

    label: str
    name: str
    total_memory_bytes: int | None
    op: OperationFigures
    gelu: GeluFigures


class DeviceFigures(Figures, frozen=True, kw_only=True):
    """Of `device`: what answers."""

    asked: str
    kind: Literal["cpu", "cuda", "npu"]
    index: int | None
    label: str = ""  # "npu:0"
    name: str
    total_memory_bytes: int | None
    emulated: bool
    versions: Mapping[str, str | None]
    op: OperationFigures
    gelu: GeluFigures | None = None  # None in records of earlier versions
    compiler_start_s: Size | None = None  # of an NPU: until its operator compiler was there
    operators: list[OperatorFigures] = field(default_factory=list)
    equal_maxima: Literal["first", "last", "other"] | None = None  # which of equal largest entries argmax takes
    others: list[CardTried] = field(default_factory=list)  # the further cards of a model that is split
