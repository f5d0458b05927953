"""Runs without a fault: what fails there is a false alarm."""

from __future__ import annotations

from dataclasses import dataclass

from verify.report.campaign import On

DTYPES = ("bfloat16", "float16", "float32")
MODELS = ("synthetic:tiny", "model/data/stand-in")  # the first has other weights with each seed, both other inputs
SEEDS = 34  # three runs each: over a hundred
FULL_EVERY = 34  # this often on the emulated NPU, with every check of the level; else on the CPU, whose arithmetic is
# the same and which is sooner done, with those checks whose inputs the seed decides


@dataclass(frozen=True)
class CleanSeed:
    """The runs of one seed, where nothing is wrong: one in each dtype."""

    model: str
    seed: int
    full: bool = False

    @property
    def on(self) -> On:
        return "npu" if self.full else "cpu"

    @property
    def id(self) -> str:
        return f"clean {self.model.rpartition('/')[2]} seed {self.seed}"


def read(seeds: int = SEEDS) -> list[CleanSeed]:
    """The clean runs of `seeds` seeds, the models in turn."""
    return [CleanSeed(MODELS[seed % len(MODELS)], seed, full=seed % FULL_EVERY == 0) for seed in range(1, seeds + 1)]
