"""Which checks there are: name, level, function and time limit. Nothing is imported until a check runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check. `function` is "module:name"; `limit` is in seconds, by level where a level changes it."""

    name: str
    level: int
    function: str
    limit: float
    limit_full: float | None = None  # at level 3 and above, where the weights are full-size
    for_minutes: bool = False  # goes on for --minutes, which come on top of the limit

    def limit_at(self, level: int, minutes: float = 0.0) -> float:
        limit = self.limit_full if level >= 3 and self.limit_full is not None else self.limit
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
