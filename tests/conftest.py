"""Fixtures that several rooms share: small checkpoints, made once a session, and loaded once.

Nothing of the model is imported before a test asks for it: the tests of env/ need no torch.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.slow import pytest_runtest_call as pytest_runtest_call  # a hook is found by its name here
from tests.slow import pytest_terminal_summary as pytest_terminal_summary

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.components import Inputs, Loaded

SEED = 42

# What property tests draw follows from the test alone, so that a commit passes everywhere or nowhere. `nox -s fuzz`
# looks for what has not been drawn yet.
settings.register_profile("suite", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("fuzz", derandomize=False, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("BUNDLE_HYPOTHESIS_PROFILE", "suite"))


def pytest_configure() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so would every program that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def load(found: Checkpoint, dtype: str) -> Loaded:
    from model import components
    from model.device import resolve

    return components.load(found, resolve("cpu"), dtype)


@pytest.fixture(scope="session")
def synthetic_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of synthetic:tiny. Read only: copy it to damage it."""
    from model import stand_in

    return stand_in.folder_of("synthetic:tiny", SEED, parent=tmp_path_factory.mktemp("stand-ins"))


@pytest.fixture(scope="session")
def tiny_checkpoint(synthetic_tiny: Path) -> Checkpoint:
    from model import checkpoint

    return checkpoint.inspect(synthetic_tiny)


@pytest.fixture(scope="session")
def tiny_float32(tiny_checkpoint: Checkpoint) -> Loaded:
    """synthetic:tiny in float32 on the CPU. Who changes its weights puts them back."""
    return load(tiny_checkpoint, "float32")


@pytest.fixture(scope="session")
def tiny_bfloat16(tiny_checkpoint: Checkpoint) -> Loaded:
    """synthetic:tiny in bfloat16 on the CPU. Who changes its weights puts them back."""
    return load(tiny_checkpoint, "bfloat16")


@pytest.fixture(scope="session")
def tiny_inputs(tiny_checkpoint: Checkpoint) -> Inputs:
    from model.components import make_inputs

    return make_inputs(tiny_checkpoint.architecture, batch=1, seq_len=32, seed=SEED)


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights that hears: processor, tokenizer and chat template are there."""
    from tests import speech_checkpoint

    return speech_checkpoint.make(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def speech(speech_folder: Path) -> tuple[Loaded, Any]:
    """That checkpoint, loaded on the CPU in float32, and its processor."""
    from model import checkpoint, decoding

    found = checkpoint.inspect(speech_folder)
    return load(found, "float32"), decoding.load_processor(found)
