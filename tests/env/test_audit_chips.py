"""Which of the cards that npu-smi shows are judged: those that a program here would use."""

from __future__ import annotations

from pathlib import Path

import pytest

from env.audit import audit
from env.audit.chips import to_be_used
from env.audit.command import main
from env.audit.registry import Subject
from env.npu_smi import Chip
from env.probe import probe
from env.probe.host import Hal, Host, Node, NpuSmi, Python, System
from env.stack import load_stack
from tests.env import machines


def chip(npu: int, die: int = 0, *, phy: int | None = None, device: str | None = None, health: str = "OK") -> Chip:
    other = {} if device is None else {"Device": device}
    return Chip(npu, die, phy, "910B4", health, None, None, None, None, None, None, other=other)


def host(
    chips: tuple[Chip, ...],
    *,
    nodes: tuple[int, ...] = (),
    hal: int | None = None,
    visible: str | None = None,
    container: str | None = None,
) -> Host:
    return Host(
        system=System("aarch64", container=container),
        python=Python("3.11.9"),
        environ={} if visible is None else {"ASCEND_RT_VISIBLE_DEVICES": visible},
        nodes=tuple(Node(f"/dev/davinci{number}", 0o660, 0, 0) for number in nodes),
        npu_smi=NpuSmi("ok", chips=chips),
        hal=Hal(hal),
    )


FOUR = tuple(chip(npu) for npu in range(4))
DIES = tuple(chip(card, die, phy=2 * card + die) for card in (0, 1) for die in (0, 1))
DUO = (chip(32768, device="0"), chip(32800, device="1"))


@pytest.mark.parametrize(
    ("machine", "device", "expected"),
    [
        (host(FOUR), None, [0, 1, 2, 3]),
        (host(FOUR, hal=4, visible="1,3"), None, [1, 3]),
        (host(FOUR, hal=4, visible="1,3"), 1, [3]),
        (host(FOUR, hal=4), 2, [2]),
        (host(FOUR, hal=4, visible="3,1"), None, [0, 1, 2, 3]),  # no device at all: another rule's finding
        (host(FOUR, hal=3, visible="1"), None, [0, 1, 2, 3]),  # who is which cannot be told
        (host(FOUR, nodes=(2,), hal=1, container="docker"), None, [2]),
        (host(FOUR, nodes=(1, 2), hal=2, container="docker", visible="1"), None, [2]),
        (host(FOUR, nodes=(0,), hal=1), None, [0, 1, 2, 3]),  # on a host a node is missing
        (host(DIES, nodes=(3,), hal=1, container="docker"), None, [3]),
        (host(DUO, nodes=(1,), hal=1, container="docker"), None, [1]),
        (host(FOUR, hal=4), 9, [0, 1, 2, 3]),
    ],
)
def test_the_chips_to_be_used(machine: Host, device: int | None, expected: list[int]) -> None:
    subject = Subject(machine, load_stack(), "npu", device=device)
    assert [machine.npu_smi.chips.index(each) for each in to_be_used(subject)] == expected


def ids(root: Path, device: int | None) -> list[str]:
    return [finding.id for finding in audit(probe(root), load_stack(), profile="npu", device=device)]


def test_the_alarm_of_another_card_is_no_error_of_the_one_to_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.build("unhealthy", tmp_path)
    assert ids(tmp_path, None) == ids(tmp_path, 0) == ["chip-unhealthy", "chip-warning"]
    assert ids(tmp_path, 1) == ["chip-unhealthy-elsewhere", "chip-warning"]
    assert main(["--root", str(tmp_path), "--device", "npu:1"]) == 0
    assert main(["--root", str(tmp_path), "--device", "npu"]) != 0
    capsys.readouterr()
