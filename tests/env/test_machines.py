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


HEALTHY = [name for name in machines.names() if name.startswith("healthy-")]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_machine_has_no_error(name: str, tmp_path: Path) -> None:
    machines.build(name, tmp_path)
    findings = audit(probe(tmp_path), load_stack(), profile="npu", checkpoint_bytes=CHECKPOINT)
    assert [finding.what for finding in findings if finding.severity == "error"] == []


def test_every_family_is_there_healthy_bare_and_in_a_container() -> None:
    tables = [machines.describe(name) for name in HEALTHY]
    there = {(table["cann"]["main"]["kernels"][0], "container" in table["system"]) for table in tables}
    families = ("ascend310b", "ascend310p", "ascend910b", "ascend910_93", "ascend950")
    assert there == {(family, container) for family in families for container in (False, True)}


def test_every_rule_has_a_machine_that_it_is_for() -> None:
    seen = {finding for name in machines.names() for finding in machines.describe(name)["expected"]}
    assert set(texts()) - seen == set()
