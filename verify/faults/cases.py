"""The cases of the campaign: cases.toml, a family a row, a case for each place in it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from env.toml import load_toml
from verify.report.campaign import On, Sort

from .spec import EVENTS, FaultError, parse_rows

TABLE = Path(__file__).with_name("cases.toml")
CALL = "call"
CARDS = 4  # of the machine that has a wrong one
CPU_DTYPE = "float32"  # on a plain CPU: the reference beside it is float64, and is left alone


@dataclass(frozen=True)
class Case:
    """One planted fault."""

    id: str
    family: str
    what: str
    on: On  # "npu": emulated
    faults: tuple[Mapping[str, Any], ...]
    layer: str | None = None  # which must be named: the one layer that is wrong; None where there is no such
    also: tuple[str, ...] = ()  # names that are as right: where the same code is seen from the layer around it
    damage: str | None = None  # what is done to the checkpoint's files (checkpoints.py)
    certain: bool = False  # changes outputs by its nature, where one pass need not show it (one in 50 is wrong)
    quick: bool = False  # in the part that runs with the tests
    switch: bool = False  # wrong only where torch-npu has a switch for the model's own GELU: without it is as it is

    @property
    def card(self) -> int | None:
        """The one that is wrong of CARDS cards of a machine, all verified; None where one card is all there is."""
        return next((row["card"] for row in self.faults if "card" in row), None)

    @property
    def sort(self) -> Sort:
        """A "checkpoint", an "event" (a crash, a hang, a device error) or a "number" (a wrong value)."""
        if self.damage is not None:
            return "checkpoint"
        return "event" if any(row["kind"] in EVENTS or row["at"] == CALL for row in self.faults) else "number"


@cache
def table() -> dict[str, Any]:
    """cases.toml: its families, and why each known miss is missed."""
    return load_toml(TABLE)


def read() -> list[Case]:
    """Every case, in the table's order.

    Raises:
        FaultError: a fault does not make sense, or two cases have one name.
    """
    cases = [case for family in table()["family"] for case in _family(family)]
    names = [case.id for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FaultError(f"two cases are named {', '.join(twice)}")
    return cases


def _family(family: Mapping[str, Any]) -> list[Case]:
    """A case for each of the family's places; "{}" stands for the place wherever it is needed."""
    places = family.get("places", [""])
    planted = []
    for number, place in enumerate(places):
        for on in family.get("on", ["npu"]):
            rows = [_filled(row, place, on) for row in family.get("faults", [])]
            name = " ".join(filter(None, [family["name"], place, "cpu" if on == "cpu" else ""]))
            parse_rows(rows, name)
            planted.append(
                Case(
                    id=name,
                    family=family["name"],
                    what=family["what"],
                    on=on,
                    faults=tuple(rows),
                    layer=_named(family.get("layer"), place),
                    also=tuple(str(_named(text, place)) for text in family.get("also", [])),
                    damage=family.get("damage"),
                    certain=family.get("certain", False),
                    quick=number == 0 and on == "npu" and family.get("quick", False),
                    switch=on == "npu" and family.get("switch", False),
                )
            )
    return planted


def _filled(row: Mapping[str, Any], place: str, on: str) -> dict[str, Any]:
    filled = {key: value.replace("{}", place) if isinstance(value, str) else value for key, value in row.items()}
    if on == "cpu":
        filled |= {"device": "cpu", "dtype": CPU_DTYPE}
    return filled


def _named(text: str | None, place: str) -> str | None:
    """A layer's name from the family's: "{}" is the place, "{^}" the layer around it."""
    return None if text is None else text.replace("{}", place).replace("{^}", place.rpartition(".")[0])
