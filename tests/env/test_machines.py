"""Whole machines, each with exactly the findings it must give: nothing missed, nothing false."""

from __future__ import annotations

from pathlib import Path

import pytest

from env.audit import audit, texts
from env.probe import probe
from env.stack import load_stack
from tests.env import machines

CHECKPOINT = 4_626_414_264  # bytes of the real checkpoint in bfloat16


@pytest.mark.parametrize("name", machines.names())
def test_a_machine_gives_its_findings_and_no_other(name: str, tmp_path: Path) -> None:
    table = machines.build(name, tmp_path)
    host = probe(tmp_path)
    profile = "npu" if host.ascend else "host"
    findings = audit(host, load_stack(), profile=profile, checkpoint_bytes=CHECKPOINT)
    assert [finding.id for finding in findings] == table["expected"], "\n".join(finding.what for finding in findings)
    for part in table.get("said", ()):
        assert any(part in finding.what for finding in findings), part


def test_every_rule_has_a_machine_that_it_is_for() -> None:
    seen = {finding for name in machines.names() for finding in machines.describe(name)["expected"]}
    assert set(texts()) - seen == set()
