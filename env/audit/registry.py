"""What a rule looks at and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

from env.audit.compat import Compat, load_compat
from env.chips import ChipKind
from env.language import _
from env.npu_smi import Chip
from env.probe.host import Distribution, Driver, Host, Toolkit
from env.stack import Stack
from env.versions import public

Fields = dict[str, str]  # what fills the texts of a rule's row in rules.toml: names and figures, or messages
TORCH_NPU = "torch-npu"
T = TypeVar("T")


class NotApplicableError(Exception):
    """A rule that has nothing to judge here, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason  # a message, which str() of the exception would reduce to its English


@dataclass(frozen=True)
class Subject:
    """One machine, or one question ("would this pair?"), to be judged against the declared stack."""

    host: Host
    stack: Stack
    profile: str  # "npu", "host"
    checkpoint_bytes: int | None = None
    compat: Compat = field(default_factory=load_compat)
    device: int | None = None  # the card that is to be used, as torch counts them; None: any of the visible ones

    @property
    def driver(self) -> Driver:
        return _known(self.host.driver, _("no driver was found"))

    @property
    def driver_release(self) -> str:
        return _known(self.driver.release, _("the driver's release is not known"))

    @property
    def toolkit(self) -> Toolkit:
        return _known(self.host.toolkit, _("no active CANN"))

    @property
    def cann(self) -> str:
        return _known(self.toolkit.release, _("the release of CANN is not known"))

    @property
    def torch_npu(self) -> str:
        """The public version that is installed, else the one that is declared and would be installed."""
        installed = self.host.distribution(TORCH_NPU)
        return public(installed.version if installed else self.stack.packages[TORCH_NPU])

    @property
    def torch_npu_shown(self) -> str:
        """The same with its local part, and whether it is installed."""
        installed = self.host.distribution(TORCH_NPU)
        return installed.version if installed else _("{version} (declared)", version=self.stack.packages[TORCH_NPU])

    def installed(self, name: str) -> Distribution:
        return _known(self.host.distribution(name), _("{name} is not installed", name=name))

    @property
    def python(self) -> str:
        """Major.minor of the judged interpreter."""
        version = _known(self.host.python.version or None, _("the Python version is not known"))
        return ".".join(version.split(".")[:2])

    def chip_kind(self, chip: Chip) -> ChipKind | None:
        """The family of one chip. The bus tells families apart that npu-smi calls alike, where all cards are alike."""
        pci = {device.device for device in self.host.pci}
        board_memory = None if chip.ddr_total_mb is None else chip.ddr_total_mb > 0
        return self.compat.chip(chip.name, next(iter(pci)) if len(pci) == 1 else None, board_memory)

    @property
    def chip_kinds(self) -> tuple[ChipKind, ...]:
        """The families of this machine's chips, each once."""
        kinds = [self.chip_kind(chip) for chip in self.host.npu_smi.chips]
        kinds = kinds or [self.compat.chip(None, device.device) for device in self.host.pci]
        unique = dict.fromkeys(kind for kind in kinds if kind is not None)
        return _known(tuple(unique) or None, _("the kind of chip is not known"))

    def must_be_answered(self) -> None:
        """For rules on what only the machine itself can tell: its nodes, modules and variables."""
        if not self.host.answered:
            raise NotApplicableError(_("only files of the machine are known"))


def _known(value: T | None, reason: str) -> T:
    if value is None:
        raise NotApplicableError(reason)
    return value


# A rule yields the fields of its texts once for each finding. Every module of rules has a table of them, RULES, by
# their ids in rules.toml.
Rule = Callable[[Subject], Iterable[Fields]]


def listed(items: Sequence[str]) -> str:
    """Messages or names with commas between them, as one message; there is at least one."""
    return reduce(lambda head, item: _("{items}, {item}", items=head, item=item), items)
