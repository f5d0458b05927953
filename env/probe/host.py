"""What is known of a machine: typed facts, the same whether read live or from a capture. No judgement here."""

from __future__ import annotations

from dataclasses import dataclass, field

from env.language import _
from env.npu_smi import Chip, Process

SCHEMA = 1
HUAWEI_PCI_VENDOR = "0x19e5"


@dataclass(frozen=True)
class Unread:
    """A file or a command that was there and could not be read, and why."""

    where: str
    why: str


@dataclass(frozen=True)
class Disk:
    """Space of a file system, in bytes. `use`: "environments" (the bundle's folder), "temporary", "shared memory"."""

    use: str
    path: str
    total: int
    free: int


@dataclass(frozen=True)
class System:
    """The operating system. `container` is None on a host, else what told of the container ("docker", ...)."""

    machine: str
    kernel: str = ""
    name: str | None = None  # PRETTY_NAME of /etc/os-release
    libc: str | None = None  # "glibc 2.39"
    container: str | None = None
    cpus: int | None = None
    memory_total: int | None = None  # bytes; of the container where it has a limit
    memory_available: int | None = None
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True)
class Python:
    """The interpreter the facts were gathered for."""

    version: str
    implementation: str = "CPython"
    executable: str | None = None


@dataclass(frozen=True)
class User:
    uid: int | None = None
    gids: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()  # names, of the groups the vendor makes only


@dataclass(frozen=True)
class Install:
    """/etc/ascend_install.info: where the driver really is, for whom, and whether its installation ended."""

    path: str
    root: str | None = None  # Driver_Install_Path_Param
    user: str | None = None
    group: str | None = None
    for_all: bool | None = None
    status: str | None = None  # Driver_Install_Status, newer drivers only


@dataclass(frozen=True)
class Driver:
    """<root>/driver. `release` is the HDK release: package_version where the file has it, else Version."""

    path: str
    release: str | None = None
    version: str | None = None
    innerversion: str | None = None  # V100R001C23SPC002B212
    cann_families: tuple[str, ...] = ()  # compatible_version: items "V100R001C21", ranges "V100R001C13,V100R001C19"
    firmware_range: tuple[str, str] | None = None  # compatible_version_fw, inclusive
    libraries: bool | None = False  # lib64 holds libascend_hal.so; None where this user may not look


@dataclass(frozen=True)
class Firmware:
    """<root>/firmware/version.info, or upgrade-tool where that file is absent."""

    path: str
    release: str | None = None  # package_version: an HDK release
    version: str | None = None  # 7.7.0.1.231: what the driver's range is about
    driver_ranges: tuple[tuple[str, str], ...] = ()  # compatible_version_drv: (version, its prefix form)


@dataclass(frozen=True)
class Toolkit:
    """One CANN installation, in either layout. `path` has its links resolved."""

    path: str
    layout: str  # "cann-<version>", "ascend-toolkit", or "other"
    release: str | None = None
    innerversion: str | None = None
    driver_families: tuple[str, ...] = ()  # compatible_version
    arch: str | None = None
    active: bool = False  # ASCEND_HOME_PATH leads to it; without that variable, the default link does
    packages: tuple[tuple[str, str], ...] = ()  # (package_name, version) of every *_install.info
    parts: tuple[tuple[str, str], ...] = ()  # (runtime, 8.5.0), ...: parts may be upgraded alone
    folders: tuple[str, ...] = ()  # which of runtime, compiler, opp are there
    kernels: tuple[str, ...] = ()  # chips that operator binaries are installed for: "ascend910b", ...
    set_env: str | None = None  # the script to source

    def part(self, name: str) -> str | None:
        return dict(self.parts).get(name)


@dataclass(frozen=True)
class Nnal:
    """<root>/nnal/atb: the ATB library's release, build and C++ ABI folders."""

    path: str
    release: str | None = None
    build: str | None = None
    abis: tuple[str, ...] = ()  # "cxx_abi_0", "cxx_abi_1"


@dataclass(frozen=True)
class Node:
    """A device node. `openable`: this user may read and write it; None where that is not known."""

    path: str
    mode: int
    uid: int
    gid: int
    openable: bool | None = None


@dataclass(frozen=True)
class PciDevice:
    address: str
    vendor: str
    device: str  # "0xd802"
    pci_class: str | None = None  # "0x120000": a processing accelerator


@dataclass(frozen=True)
class NpuSmi:
    """What npu-smi did. `status`: ok (a table), failed, timeout, missing, not captured, unreadable."""

    status: str
    returncode: int | None = None
    tool_version: str | None = None
    driver_version: str | None = None
    chips: tuple[Chip, ...] = ()
    processes: tuple[Process, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Holder:
    """A mount namespace that owns devices: the process that it began with, and the devices by their physical ids."""

    process: int
    devices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Hal:
    """drvGetDevNum, called in a child process, as torch_npu calls it. `library`: the libascend_hal.so that answered."""

    count: int | None = None
    library: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Library:
    """Where the loader path (LD_LIBRARY_PATH, in order) has a library; links are resolved."""

    name: str
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class Distribution:
    """An installed distribution, from its metadata alone."""

    name: str  # normalised: "torch-npu"
    version: str
    site: str
    requires: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # of its wheel: "cp310-cp310-manylinux_2_28_aarch64"
    absent: tuple[str, ...] = ()  # files of its RECORD that are not there (looked for in a few packages only)


@dataclass(frozen=True)
class Module:
    """A folder that `import name` may take, in the order of the import path."""

    name: str
    path: str
    regular: bool  # it has an __init__.py
    parts: tuple[str, ...] = ()  # telling sub-folders that are there ("backends/ascend" of triton)


@dataclass(frozen=True)
class IndexAnswer:
    """What one package index offers this interpreter for one pin."""

    index: str  # the configured address, credentials left out; "default" where none is configured
    name: str
    pin: str
    found: bool | None  # None: the index did not answer
    versions: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Host:
    """Every fact of one machine."""

    system: System
    python: Python
    root: str = "/"
    captured: bool = False
    answered: bool = True  # False: only files are known, not the nodes, the variables, the user or any command
    user: User = User()
    environ: dict[str, str] = field(default_factory=dict)  # only the variables that matter here
    leads_to: dict[str, str] = field(default_factory=dict)  # of those that hold one path: where it really leads
    install: Install | None = None
    driver: Driver | None = None
    firmware: Firmware | None = None
    toolkits: tuple[Toolkit, ...] = ()
    nnal: tuple[Nnal, ...] = ()
    nodes: tuple[Node, ...] = ()
    modules: tuple[str, ...] = ()  # loaded kernel modules of the driver
    pci: tuple[PciDevice, ...] = ()  # Huawei's processing accelerators
    npu_smi: NpuSmi = NpuSmi(_("not captured"))
    dcmi: bool = False  # /usr/local/dcmi holds the library that npu-smi asks
    holders: tuple[Holder, ...] = ()  # read only where npu-smi says that devices are taken
    hal: Hal = Hal()
    libraries: tuple[Library, ...] = ()
    sites: tuple[str, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    packages: tuple[Module, ...] = ()  # importable folders of a few packages, in import order
    leftovers: tuple[str, ...] = ()  # "~orch_npu": what an interrupted pip left behind
    indexes: tuple[IndexAnswer, ...] = ()
    unread: tuple[Unread, ...] = ()
    schema: int = SCHEMA

    @property
    def ascend(self) -> bool:
        """Whether anything of an NPU is here: an accelerator, its nodes, its driver or its tool.

        CANN alone makes no Ascend host: it is installed to compile on machines without an NPU too.
        """
        answers = self.npu_smi.status in ("ok", "failed", "timeout", "unreadable")
        return bool(self.pci or self.nodes or self.driver or self.install or answers)

    @property
    def toolkit(self) -> Toolkit | None:
        """The active CANN, if there is one."""
        return next((toolkit for toolkit in self.toolkits if toolkit.active), None)

    @property
    def davinci(self) -> tuple[Node, ...]:
        """The nodes of single devices: /dev/davinci0, ... (not /dev/vdavinci100: a part of one, cut on the host)."""
        return tuple(node for node in self.nodes if node.path.removeprefix("/dev/davinci").isdigit())

    def distribution(self, name: str) -> Distribution | None:
        """The distribution that Python would use: the first in the order of the sites."""
        return next((each for each in self.distributions if each.name == name), None)

    def library(self, name: str) -> tuple[str, ...]:
        return next((library.found for library in self.libraries if library.name == name), ())
