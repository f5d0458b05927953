"""Which checks there are: name, level, function and time limit. Nothing is imported until a check runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FULL_LEVEL = 3  # whose checkpoint is full-size, by its definition
FULL_BYTES = 100_000_000  # of a checkpoint that is full-size at any level: verify.expected.SMALL parameters in bfloat16


@dataclass(frozen=True)
class Check:
    """One check. `function` is "module:name"; the limits are in seconds, for small and for full-size weights."""

    name: str
    level: int
    function: str
    limit: float
    limit_full: float | None = None  # None: as for small ones
    for_minutes: bool = False  # goes on for --minutes, which come on top of the limit

    def limit_for(self, *, full: bool, minutes: float = 0.0) -> float:
        limit = self.limit_full if full and self.limit_full is not None else self.limit
        return limit + 60 * minutes if self.for_minutes else limit


# In the order they run. The first model check of a process pays for the imports (10-14 s) and the load.
CHECKS: tuple[Check, ...] = (
    Check("machine", 1, "verify.checks.machine:machine", 60),
    Check("packages", 1, "verify.checks.packages:packages", 60),
    Check("checkpoint", 1, "verify.checks.readiness:checkpoint", 300, 900),
    Check("device", 1, "verify.checks.readiness:device", 180),
    Check("load", 2, "verify.checks.function:load", 180, 1200),
    Check("weights", 2, "verify.checks.localisation:weights", 120, 900),
    Check("shapes", 2, "verify.checks.function:shapes", 120, 900),
    Check("splice", 2, "verify.checks.function:splice", 120, 900),
    Check("generate", 2, "verify.checks.function:generate", 120, 900),
    Check("determinism", 2, "verify.checks.function:determinism", 120, 1200),
    Check("parity", 2, "verify.checks.function:parity", 120, 1800),
    Check("layers", 2, "verify.checks.localisation:layers", 180, 3600),
    Check("sharp", 2, "verify.checks.localisation:sharp", 180),
    Check("tokens", 2, "verify.checks.localisation:tokens", 120, 900),
    Check("configurations", 2, "verify.checks.configurations:configurations", 240, 600),
    Check("benchmark", 2, "verify.checks.performance:benchmark", 120, 1800),
    Check("repeatability", 2, "verify.checks.stability:repeatability", 400, 1800),
    Check("speech", 2, "verify.checks.speech:speech", 180, 3600),
    Check("soak", 4, "verify.checks.stability:soak", 600, for_minutes=True),
)


def planned(level: int) -> tuple[Check, ...]:
    """The checks that `level` requires, in order."""
    return tuple(check for check in CHECKS if check.level <= level)


def full_size(model_dir: str, level: int) -> bool:
    """Whether the checks need the time that full-size weights take, however fast the device is: they are read, and the
    reference of them runs on the CPU.

    Nothing is judged here: of a folder that is missing or damaged the checkpoint check says so.
    """
    if level >= FULL_LEVEL or model_dir == "synthetic:full":
        return True
    return sum(path.stat().st_size for path in Path(model_dir).glob("*.safetensors") if path.is_file()) >= FULL_BYTES
