"""Which checks there are: name, level, function and time limit. Nothing is imported until a check runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from model.size import FULL_SIZE

FULL_LEVEL = 3  # whose checkpoint is full-size, by its definition
FULL_BYTES = 2 * FULL_SIZE  # of a checkpoint that is full-size at any level, in bfloat16

# What `shapes`, `determinism` and `parity` measure, in the order of the forward pass: Architecture.output_shapes, which
# a reader of records must not import.
COMPONENTS = ("encoder", "ctc_head", "projector", "splice", "language_model", "end_to_end")


@dataclass(frozen=True)
class Check:
    """One check, verify/checks/<name>.py; the limits are in seconds, for small and for full-size weights.

    `essential`: the level means nothing without it. A skip of such a check, or a run that leaves it out, leaves
    the run incomplete; any other check may be skipped with a reason, which the verdict line then names.
    """

    name: str
    level: int
    limit: float
    limit_full: float | None = None  # None: as for small ones
    essential: bool = False
    for_minutes: bool = False  # goes on for --minutes, which come on top of the limit
    function: str = ""  # "module:name", of a check that is not in verify/checks
    option: str = ""  # what asks for it, as the context has it; without that no level runs it

    @property
    def where(self) -> str:
        """The function that takes the verification and gives the outcome, as "module:name"."""
        return self.function or f"verify.checks.{self.name}:check"

    def limit_for(self, *, full: bool, minutes: float = 0.0) -> float:
        limit = self.limit_full if full and self.limit_full is not None else self.limit
        return limit + 60 * minutes if self.for_minutes else limit


# In the order they run. The first model check of a process pays for the imports (10-14 s) and the load, and `parity`,
# the first that needs them, for making reference values.
# Not essential: `machine` (the host), `frontend` (on the CPU, the same for every device), `benchmark` and `soak` (how
# fast, how long), `configurations` (lengths, batches and caches beside the run's own), `vendor` and `stress` (what
# the maker's own tools say of the card, on request). All others together decide whether the run's own work is computed
# rightly.
CHECKS: tuple[Check, ...] = (
    Check("machine", 1, 60),
    Check("packages", 1, 60, essential=True),
    Check("checkpoint", 1, 300, 900, essential=True),
    Check("device", 1, 180, essential=True),
    Check("load", 2, 180, 1200, essential=True),
    Check("definition", 2, 120, essential=True),
    Check("frontend", 2, 180),
    Check("weights", 2, 120, 900, essential=True),
    Check("shapes", 2, 120, 900, essential=True),
    Check("splice", 2, 120, 900, essential=True),
    Check("generate", 2, 120, 900, essential=True),
    Check("determinism", 2, 120, 1200, essential=True),
    Check("parity", 2, 180, 3600, essential=True),
    Check("layers", 2, 180, 3600, essential=True),
    Check("sharp", 2, 180, essential=True),
    Check("tokens", 2, 120, 900, essential=True),
    Check("configurations", 2, 240, 600),
    Check("benchmark", 2, 120, 1800),
    Check("repeatability", 2, 400, 1800, essential=True),
    Check("speech", 2, 180, 3600, essential=True),
    Check("vendor", 3, 3600, option="vendor_diagnosis"),
    Check("soak", 4, 600, for_minutes=True),
    Check("stress", 4, 1800, option="stress_detect"),
)


def planned(level: int, options: Collection[str] = ()) -> tuple[Check, ...]:
    """The checks that `level` requires, in order, with those that one of `options` asks for."""
    return tuple(check for check in CHECKS if check.level <= level and (not check.option or check.option in options))


def full_size(model_dir: str, level: int) -> bool:
    """Whether the checks need the time that full-size weights take, however fast the device is: they are read, and the
    reference of them runs on the CPU.

    Nothing is judged here: of a folder that is missing or damaged the checkpoint check says so.
    """
    if level >= FULL_LEVEL or model_dir == "synthetic:full":
        return True
    return sum(path.stat().st_size for path in Path(model_dir).glob("*.safetensors") if path.is_file()) >= FULL_BYTES
