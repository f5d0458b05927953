"""What the tests of the checks share: the reference values of synthetic:tiny, made once a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.components import Inputs
    from verify.reference.values import Expected


@pytest.fixture(scope="session")
def tiny_expected(tiny_checkpoint: Checkpoint, tiny_inputs: Inputs) -> Expected:
    from model.checkpoint import weights_sha256
    from verify.reference.make import make
    from verify.reference.values import describe

    digest = weights_sha256(tiny_checkpoint)
    return make(tiny_checkpoint, tiny_inputs, describe(tiny_checkpoint, digest, tiny_inputs, "float32", any_dtype=True))
