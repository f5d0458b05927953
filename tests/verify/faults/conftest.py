"""The bundled stand-in, loaded once for the tests of this folder, which only look at it."""

from __future__ import annotations

import pytest

from env.stack import ROOT, load_stack
from model import checkpoint
from model.components import Loaded
from tests.conftest import load


@pytest.fixture(scope="session")
def stand_in() -> Loaded:
    return load(checkpoint.inspect(ROOT / load_stack().stand_in), "float32")
