"""Fixtures that several rooms share: the tiny stand-in, made once a session, and loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import checkpoint as checkpoints
from model import stand_in
from model.checkpoint import Checkpoint
from model.components import Inputs, Loaded, load, make_inputs
from model.device import resolve

SEED = 42


@pytest.fixture(scope="session")
def synthetic_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of synthetic:tiny. Read only: copy it to damage it."""
    return stand_in.folder_of("synthetic:tiny", SEED, parent=tmp_path_factory.mktemp("stand-ins"))


@pytest.fixture(scope="session")
def tiny_checkpoint(synthetic_tiny: Path) -> Checkpoint:
    return checkpoints.inspect(synthetic_tiny)


@pytest.fixture(scope="session")
def tiny_float32(tiny_checkpoint: Checkpoint) -> Loaded:
    """synthetic:tiny in float32 on the CPU. Who changes its weights puts them back."""
    return load(tiny_checkpoint, resolve("cpu"), "float32")


@pytest.fixture(scope="session")
def tiny_bfloat16(tiny_checkpoint: Checkpoint) -> Loaded:
    """synthetic:tiny in bfloat16 on the CPU. Who changes its weights puts them back."""
    return load(tiny_checkpoint, resolve("cpu"), "bfloat16")


@pytest.fixture(scope="session")
def tiny_inputs(tiny_checkpoint: Checkpoint) -> Inputs:
    return make_inputs(tiny_checkpoint.architecture, batch=1, seq_len=32, seed=SEED)
