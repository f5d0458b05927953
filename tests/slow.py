"""What takes over five seconds is marked slow; a test that does and is not fails.

Seconds are those of the processor, of the test itself and of the programs that it ran: a busy machine makes no test
slow, and what is made for many tests, in fixtures, is not counted to one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

LIMIT_S = 5.0


def processor_seconds() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = processor_seconds()
    yield
    taken = processor_seconds() - before
    if taken > LIMIT_S and item.get_closest_marker("slow") is None:
        pytest.fail(f"takes {taken:.1f} s of the processor: shorten it, or mark it slow", pytrace=False)
