"""What a rule is given, what it gives back, and the register of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from env.audit.compat import ChipKind, Compat, load_compat
from env.npu_smi import Chip
from env.probe.host import Distribution, Driver, Host, Toolkit
from env.stack import Stack
from env.versions import public

Fields = dict[str, str]  # what fills the texts of a rule's row in rules.toml
TORCH_NPU = "torch-npu"
T = TypeVar("T")


class NotApplicableError(Exception):
    """A rule that has nothing to judge here, and why."""


@dataclass(frozen=True)
class Case:
    """One machine, or one question ("would this pair?"), to be judged against the declared stack."""

    host: Host
    stack: Stack
    profile: str  # "npu", "host"
    checkpoint_bytes: int | None = None
    compat: Compat = field(default_factory=load_compat)

    @property
    def driver(self) -> Driver:
        return _there(self.host.driver, "no driver was found")

    @property
    def driver_release(self) -> str:
        return _there(self.driver.release, "the driver's release is not known")

    @property
    def toolkit(self) -> Toolkit:
        return _there(self.host.toolkit, "no active CANN")

    @property
    def cann(self) -> str:
        return _there(self.toolkit.release, "the release of CANN is not known")

    @property
    def torch_npu(self) -> str:
        """The public version that is installed, else the one that is declared and would be installed."""
        installed = self.host.distribution(TORCH_NPU)
        return public(installed.version if installed else self.stack.packages[TORCH_NPU])

    @property
    def torch_npu_shown(self) -> str:
        """The same with its local part, and whether it is installed."""
        installed = self.host.distribution(TORCH_NPU)
        return installed.version if installed else f"{self.stack.packages[TORCH_NPU]} (declared)"

    def installed(self, name: str) -> Distribution:
        return _there(self.host.distribution(name), f"{name} is not installed")

    @property
    def python(self) -> str:
        """Major.minor of the judged interpreter."""
        version = _there(self.host.python.version or None, "the Python version is not known")
        return ".".join(version.split(".")[:2])

    def chip_kind(self, chip: Chip) -> ChipKind | None:
        """The family of one chip. The bus tells families apart that npu-smi calls alike, where all cards are alike."""
        pci = {device.device for device in self.host.pci}
        return self.compat.chip(chip.name, next(iter(pci)) if len(pci) == 1 else None)

    @property
    def chip_kinds(self) -> tuple[ChipKind, ...]:
        """The families of this machine's chips, each once."""
        found = [self.chip_kind(chip) for chip in self.host.npu_smi.chips]
        found = found or [self.compat.chip(None, device.device) for device in self.host.pci]
        kinds = dict.fromkeys(kind for kind in found if kind is not None)
        return _there(tuple(kinds) or None, "the kind of chip is not known")

    def must_be_answered(self) -> None:
        """For rules on what only the machine itself can tell: its nodes, modules and variables."""
        if not self.host.answered:
            raise NotApplicableError("only files of the machine are known")


def _there(value: T | None, reason: str) -> T:
    if value is None:
        raise NotApplicableError(reason)
    return value


Rule = Callable[[Case], Iterable[Fields]]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    """Register a rule under its id in rules.toml. It yields the fields of its texts once for each finding."""

    def register(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return register
