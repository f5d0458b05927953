"""What tests of several folders share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from model.components import Loaded


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights that hears: processor, tokenizer and chat template are there."""
    from tests import speech_checkpoint

    return speech_checkpoint.make(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def speech(speech_folder: Path) -> tuple[Loaded, Any]:
    """That checkpoint, loaded on the CPU in float32, and its processor."""
    from model import checkpoint, components, decoding, device

    cpu = device.resolve("cpu")
    found = checkpoint.inspect(speech_folder)
    return components.load(found, cpu, "float32"), decoding.load_processor(found)
