"""Which checks there are: name, level, function and time limit. Nothing is imported until a check runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from model.size import FULL_SIZE

FULL_LEVEL = 3  # whose checkpoint is full-size, by its definition
PUBLISHED = 2_313_141_596  # parameters of the published checkpoint, and of synthetic:full (model/stand_in.py)
FULL_BYTES = 2 * FULL_SIZE  # of a checkpoint that is full-size at any level, in bfloat16

# Of the reference on the CPU, a parameter and position. With two threads of a server (AMD EPYC, AVX2) a model of 2.3
# billion parameters in float32 takes 0.35 s to read its weights once for a single position, and 0.07 s for each of many
# positions together; positions are counted one by one, so that the slower rate bounds both, weights read from disk too.
SECONDS_A_PARAMETER = 0.35 / 2.3e9
PASSES = 18  # over the run's inputs (reference/make.py): values, four tokens, nine ideal devices, components of four
# Over the bundled clips (reference/words.py): six clips of up to 48 tokens, a pass each over some 90 positions, and two
# ideal devices. Texts end after a third of that.
CLIP_POSITIONS = 6 * (48 + 2) * 90

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
    passes: int = 0  # of the reference over the run's inputs, which the check makes where none are kept
    clip_positions: int = 0  # the same over the bundled clips, in positions
    option: str = ""  # what asks for it, as the context has it; without that no level runs it

    @property
    def where(self) -> str:
        """The function that takes the verification and gives the outcome, as "module:name"."""
        return self.function or f"verify.checks.{self.name}:check"

    def limit_for(self, *, full: bool, minutes: float = 0.0, parameters: int = 0, positions: int = 0) -> float:
        """Seconds, for a model of `parameters` and inputs of `positions` in all rows: what the reference takes comes on
        top, where full-size weights may have it made.
        """
        limit = self.limit_full if full and self.limit_full is not None else self.limit
        if full:
            limit += SECONDS_A_PARAMETER * parameters * (self.passes * positions + self.clip_positions)
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
    Check("parity", 2, 180, 3600, essential=True, passes=PASSES),
    Check("layers", 2, 180, 3600, essential=True, passes=PASSES),
    Check("sharp", 2, 180, essential=True),
    Check("tokens", 2, 120, 900, essential=True, passes=PASSES),
    Check("configurations", 2, 240, 600),
    Check("benchmark", 2, 120, 1800),
    Check("repeatability", 2, 400, 1800, essential=True),
    Check("speech", 2, 180, 3600, essential=True, clip_positions=CLIP_POSITIONS),
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
    return level >= FULL_LEVEL or model_dir == "synthetic:full" or _bytes(model_dir) >= FULL_BYTES


def parameters(model_dir: str) -> int:
    """How many the checkpoint has, as far as its files' sizes tell: two bytes each, as it is published."""
    return PUBLISHED if model_dir == "synthetic:full" else _bytes(model_dir) // 2


def _bytes(model_dir: str) -> int:
    return sum(path.stat().st_size for path in Path(model_dir).glob("*.safetensors") if path.is_file())
