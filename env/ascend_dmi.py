"""What the vendor's own tool measures, read from what it prints: ascend-dmi of MindCluster ToolBox.

Forms: ascend-dmi 26.1 on Atlas A3, as FlagPerf's tests hold it (FlagRT/FlagPerf, base/toolkits/_common/ascend/A3:
"bandwidths", "computing_power", "error" with exit status 0), and the diagnosis of the ToolBox user guide. A value that
is no number (NULL, NA) is none, and a word that is not known to be good is not good.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from env.language import Message, _

Meaning = Literal["good", "bad", "warned", "untested"]

HOME = Path("/usr/local/Ascend")  # where the vendor's installers put it; nothing else is looked at, nor PATH
DMI_PLACES = ("toolbox/latest/Ascend-DMI/bin/ascend-dmi", "toolbox/*/Ascend-DMI/bin/ascend-dmi")
LIBRARIES = ("driver/lib64", "driver/lib64/driver")  # beside the tool's own, as ToolBox's set_env.sh adds them
# ToolBox user guide, the words of --dg: HEALTH PASS INFO SKIP WARN FAIL GENERAL_WARN IMPORTANT_WARN EMERGENCY_WARN.
GOOD = frozenset({"HEALTH", "PASS"})
BAD = frozenset({"FAIL", "IMPORTANT_WARN", "EMERGENCY_WARN"})
WARNED = frozenset({"WARN", "GENERAL_WARN"})
NO_THRESHOLD = "threshold failed from configuration"  # FAIL of an item that has no threshold for the chip (FlagPerf)

_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*(GB/s|Bytes)?\s*", re.IGNORECASE)
_FLOPS = re.compile(r"t(?:fl)?ops[_@](\w+)", re.IGNORECASE)
_LONGEST = 400  # characters kept of a text of the tool's


class UnreadableError(ValueError):
    """What a tool printed holds no result; the argument is a message."""


@dataclass(frozen=True)
class Rate:
    """A measured rate. `dies` is how many the tool loaded at once: of an A3 card it loads both."""

    value: float
    dies: int = 1
    bytes: int | None = None


@dataclass(frozen=True)
class Item:
    """One item of a diagnosis, with the tool's own word for it."""

    name: str
    word: str
    text: str


def find_dmi(home: Path = HOME) -> Path | None:
    """The tool at the vendor's places, the release that `latest` names first; None where it is not installed."""
    return next((path for place in DMI_PLACES for path in sorted(home.glob(place), reverse=True)), None)


def environment(tool: Path, environ: Mapping[str, str], home: Path = HOME) -> dict[str, str]:
    """What the tool runs in: its libraries and the driver's, and every card under the machine's own number."""
    folders = [str(tool.parents[1] / "lib64"), "/usr/local/dcmi", *(str(home / folder) for folder in LIBRARIES)]
    path = ":".join([*folders, *filter(None, [environ.get("LD_LIBRARY_PATH")])])
    return {**{k: v for k, v in environ.items() if k != "ASCEND_RT_VISIBLE_DEVICES"}, "LD_LIBRARY_PATH": path}


def meaning(item: Item) -> Meaning:
    """What a word comes to. SKIP, NA, NULL, INFO and every other: the item was not tested."""
    word = item.word.strip().upper()
    if NO_THRESHOLD in item.text:
        return "untested"
    return "good" if word in GOOD else "bad" if word in BAD else "warned" if word in WARNED else "untested"


def bandwidth(text: str) -> Rate:
    """GB/s of `ascend-dmi --bw --fmt json`: of several sizes the largest.

    Raises:
        UnreadableError: the tool says an error, or no rate.
    """
    rates = [
        Rate(value, bytes=None if size is None else int(size))
        for row in _objects(_json(text))
        if (value := _number(row.get("bandwidth"))) is not None
        for size in [_number(row.get("size"))]
    ]
    if not rates:
        raise UnreadableError(_("no bandwidth in its answer"))
    return max(rates, key=lambda rate: rate.bytes or 0)


def flops(text: str, dtype: str) -> Rate:
    """TFLOPS of `ascend-dmi -f -t DTYPE --fmt json`.

    Raises:
        UnreadableError: the tool says an error, or no rate of that dtype.
    """
    for row in _objects(_json(text)):
        for name, value in row.items():
            match, number = _FLOPS.fullmatch(name), _number(value)
            if match and match[1].lower() == dtype and number is not None:
                return Rate(number, dies=str(row.get("device_id", "")).count("/") + 1)
    raise UnreadableError(_("no rate of {dtype} in its answer", dtype=dtype))


def diagnosis(text: str) -> list[Item]:
    """The items of `ascend-dmi --dg --fmt json`, each with its own word or its group's.

    Raises:
        UnreadableError: the tool says an error, or no item.
    """
    items = []
    for group in _objects(_json(text)):
        rows = group.get("sub_items")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                name = row.get("item_name") or group.get("group_name") or "?"
                word = row.get("item_result") or group.get("group_results") or ""
                items.append(Item(str(name), str(word), _told(row.get("item_info"))))
    if not items:
        raise UnreadableError(_("no diagnosis in its answer"))
    return items


def _told(info: object) -> str:
    texts = info if isinstance(info, list) else [] if info is None else [info]
    return "; ".join(str(text) for text in texts)[:_LONGEST]


def _json(text: str) -> Any:
    """The first JSON object of an output that may begin with warnings."""
    start = text.find("{")
    try:
        value, _end = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else (None, 0)
    except (ValueError, RecursionError):
        value = None
    if value is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        raise UnreadableError(_("no JSON in its answer: {text}", text=first[:_LONGEST]) if first else _("no answer"))
    error = value.get("error")
    if isinstance(error, dict) and error.get("code") not in (0, "0", None):  # with exit status 0
        raise UnreadableError(_("error {code}: {text}", code=str(error["code"]), text=_told(error.get("description"))))
    return value


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a value, the outer before the inner; no recursion, however deep it is."""
    waiting = [value]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _number(value: object) -> float | None:
    """A rate or a size; None of NULL, NA and whatever else is no number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) and value >= 0 else None
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else None


def why(error: UnreadableError) -> Message | str:
    """The message of an error."""
    text: Message | str = error.args[0]
    return text
