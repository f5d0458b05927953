"""A machine whose files are damaged is still probed and audited: never an exception."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env.audit import audit
from env.probe import probe
from env.stack import load_stack
from tests.env import machines


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        machines.build("cann-mixed", Path(folder))
        yield Path(folder)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_is_an_exception(machine: Path, data: st.DataObject) -> None:
    """Whatever bytes a file of a captured machine holds, the probe notes it and the audit judges the rest."""
    files = sorted(path for path in machine.rglob("*") if path.is_file() and path.stat().st_size)
    path = data.draw(st.sampled_from(files), label="file")
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)), label="cut")
    noise = data.draw(st.binary(max_size=40), label="noise")
    keep = data.draw(st.booleans(), label="keep the rest")
    try:
        path.write_bytes(whole[:cut] + noise + (whole[cut:] if keep else b""))
        host = probe(machine)
        findings = audit(host, load_stack(), profile="npu", checkpoint_bytes=1 << 32)
        assert all(finding.what for finding in findings)
    finally:
        path.write_bytes(whole)
