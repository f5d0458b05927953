"""Rates of copies: every direction, size and kind of memory; a byte that changed on the way fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import structs

from model.device import Device, resolve
from verify.reference import copies
from verify.run.judgement import of_copies

MIB = 2**20


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Copies within this machine's memory, which stands for the device's; nothing can be pinned without one."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    return list(copies._rows(resolve("cpu"), MIB, budget_s=0.0))


def test_a_cpu_has_one_memory_and_nothing_to_copy() -> None:
    assert copies.measure(Device("cpu", 0, "cpu")) == []


def test_every_direction_and_kind_of_host_memory_is_a_row_with_its_median(rows: list[Any]) -> None:
    assert [(row.direction, row.memory) for row in rows] == [
        ("h2d", "pinned"),
        ("d2h", "pinned"),
        ("h2d", "pageable"),
        ("d2h", "pageable"),
        ("d2d", None),
    ]
    assert all(row.n >= copies.FEWEST and 0 < row.gb_s <= row.best_gb_s and row.bytes == MIB for row in rows)
    assert of_copies(rows) == []


def test_bytes_that_change_on_the_way_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.Tensor.copy_

    def copy(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        right(self, source)
        self[-1] += 1
        return self

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    rows = list(copies._rows(resolve("cpu"), MIB, budget_s=0.0))
    assert str(of_copies(rows)[0]) == "bytes changed while 1048576 were copied (h2d, pinned)"


def test_the_rate_of_a_direction_is_that_of_its_largest_copies(rows: list[Any]) -> None:
    larger = structs.replace(rows[0], bytes=2 * MIB, gb_s=99.0)
    assert copies.rate([*rows, larger], "h2d") == 99.0
    assert copies.rate(rows, "d2d") == rows[-1].gb_s
    assert copies.rate([], "d2h") is None
