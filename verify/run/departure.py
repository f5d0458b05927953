"""Which layer a run's figures blame: the first that departs from the reference, as `layers` and `sharp` leave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BETWEEN = " > "  # in the name of a point between layers (model/hooks.py), which needs torch


def layer_of(data: Mapping[str, Any]) -> str | None:
    """The layer in the figures of `layers` or `sharp`; None where none departs.

    Where each layer is fed the reference's input an error does not travel, so that comes first.
    """
    for mode in ("isolated", "end_to_end"):
        reading = data.get(mode) or {}
        if reading.get("first_departure"):
            return str(reading["first_departure"]["layer"])
        if reading.get("missing"):
            return str(reading["missing"][0]).partition(BETWEEN)[0]
    return None
