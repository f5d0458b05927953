"""What a check is given: the options of the run, and what the checks of one process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Context:
    """The options of a run as every check sees them. `shared` lives as long as the worker process:
    a check that needs the loaded model keeps it there for the next one.
    """

    device: str  # "auto", "npu:0", "cuda:0", "cpu"
    model_dir: str  # a checkpoint folder, or "synthetic:tiny", "synthetic:full"
    dtype: str  # "auto" (the checkpoint's own), "float32", "bfloat16", "float16"
    seed: int
    level: int
    run_folder: Path
    batch_size: int = 1
    seq_len: int = 32
    warmup: int = 2
    rounds: int = 10
    reference: str | None = None  # a file of reference values made elsewhere
    minutes: float = 10.0  # how long level 4 goes on
    shared: dict[str, Any] = field(default_factory=dict)
