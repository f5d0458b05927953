"""The options of a run, as every check sees them and as a worker reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class Context:
    """The options of a run."""

    device: str  # "auto", "npu:0", "cuda:0", "cpu"
    model_dir: str  # a checkpoint folder, or "synthetic:tiny", "synthetic:full"
    dtype: str  # "auto" (the checkpoint's own), "float32", "bfloat16", "float16"
    seed: int
    level: int
    run_folder: Path
    batch_size: int = 1
    seq_len: int = 32
    warmup: int = 2
    rounds: int = 11  # the fewest that bear a median (verify/report/percentiles.py)
    reference: str | None = None  # a file of reference values made elsewhere
    minutes: float = 10.0  # how long level 4 goes on
    device_map: str | None = None  # "auto": one model split over several cards
    gate: bool = False  # a time beyond its chip's reference fails
    stress_detect: bool = False  # the vendor's test for silent errors was asked for
    vendor_diagnosis: bool = False  # and its tools

    def of_bundled(self, model_dir: str, dtype: str) -> Context:
        """The same on the bundled checkpoint in a dtype of its own, whose reference values are made here."""
        return replace(self, model_dir=model_dir, dtype=dtype, reference=None)

    def as_json(self) -> str:
        """What `from_json` takes: how a worker is told."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> Context:
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))
