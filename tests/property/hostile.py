"""Hostile inputs: whole files that were bent, and what is held of every reader of what comes from elsewhere.

A value or an error of the bundle's own; no traceback, no hang, and no memory beyond 500 MB. Bent is: a value exchanged
for one of another type, size, depth or script, a byte flipped, the end cut off, a part repeated. CI takes EXAMPLES of
each reader, 10,000 in all; `nox -s bench-hostile -- --n 100000` takes as many as it is told.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env.errors import BundleError
from verify.report.campaign import BadCampaignError

EXAMPLES = int(os.environ.get("BUNDLE_HOSTILE_EXAMPLES", "264"))  # of each reader
SECONDS, MEBIBYTES = 30, 500

Reader = Callable[[Path, bytes], object]

VALUES: list[Any] = [
    None, True, 0, -1, 10**30, 10**400, 1e308, 1e-320, "", "x" * 10_000, "\x1b[2J", "\u202e", "\ud800",
    "../../etc/passwd", "/dev/zero", "{0.__class__}", "{}", "%s", "<script>", "a\nb", "\0",
    [], {}, [[]], [None] * 300, {"": {}}, {"__proto__": 1},
]  # fmt: skip
DEEP = ["[" * 3000, '{"a":' * 3000, "[" * 70 + "]" * 70]


@st.composite
def bent_json(draw: st.DrawFn, whole: Any) -> bytes:
    """A JSON value with up to three places exchanged, or its text damaged."""
    value = json.loads(json.dumps(whole))
    for _each in range(draw(st.integers(1, 3))):
        place = value
        while isinstance(place, (dict, list)) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                how = draw(st.sampled_from(("value", "remove", "rename")))
                if how == "value" or isinstance(place, list):
                    place[key] = json.loads(json.dumps(draw(st.sampled_from(VALUES))))  # it may be bent itself
                else:
                    del place[key]
                    if how == "rename":
                        place[key + "x"] = inner
                break
            place = inner
    return draw(bent_bytes(json.dumps(value).encode()))


@st.composite
def bent_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes as they are, cut off, with one flipped, with a piece put in or repeated."""
    how = draw(st.sampled_from(("as it is", "cut", "flip", "insert", "repeat")))
    place = draw(st.integers(0, max(len(whole) - 1, 0)))
    if how == "cut":
        return whole[:place]
    if how == "flip" and whole:
        return whole[:place] + bytes([whole[place] ^ (1 << draw(st.integers(0, 7)))]) + whole[place + 1 :]
    if how == "insert":
        texts = st.sampled_from(
            [text.encode() for text in DEEP] + [b"\xff\xfe", b"\0", b"\x1b]0;x\x07", b"1" * 5000, b"NaN"]
        )
        return whole[:place] + draw(texts) + whole[place:]
    if how == "repeat":
        return whole * draw(st.integers(2, 5))
    return whole


def of_file(read: Callable[[Path], object], name: str = "file") -> Reader:
    def from_folder(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return from_folder


def stored(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def late(*_arguments: object) -> None:
        raise AssertionError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hold(inputs: st.SearchStrategy[bytes], read: Reader, folder: Path) -> None:
    """Give a reader EXAMPLES inputs, each of which is one file."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="BUNDLE_HOSTILE_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def each(data: bytes) -> None:
        with within(SECONDS), suppress(BundleError, BadCampaignError):
            read(folder, data)

    each()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES
