"""Fixtures of the model's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import stand_in


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """synthetic:tiny in three shards with an index, as the real checkpoint is stored. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stand_in, "SHARD_BYTES", 2_700_000)
        folder = stand_in.folder_of("synthetic:tiny", 1, parent=tmp_path_factory.mktemp("sharded"))
    assert len(list(folder.glob("*.safetensors"))) == 3
    return folder
