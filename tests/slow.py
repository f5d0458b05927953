"""What takes over five seconds is marked slow; a test that does and is not fails.

Seconds are those of the processor, of the test itself and of the programs that it ran: a busy machine makes no test
slow, and what is made for many tests, in fixtures, is not counted to one. A slower processor does: a test fails at
twice the five seconds, and what lies between is listed at the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter

LIMIT_S = 5.0
SLOWER_PROCESSOR = 2.0
"""How many times slower a processor may be than the one that the marks were set on."""

PROPERTY = "not marked slow"


def processor_seconds() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    before = processor_seconds()
    yield
    taken = processor_seconds() - before
    if taken <= LIMIT_S or item.get_closest_marker("slow") is not None:
        return
    advice = f"takes {taken:.1f} s of the processor: shorten it, or mark it slow"
    if taken > SLOWER_PROCESSOR * LIMIT_S:
        pytest.fail(advice, pytrace=False)
    item.user_properties.append((PROPERTY, advice))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, advice in report.user_properties:
            if name == PROPERTY:
                terminalreporter.write_line(f"{report.nodeid} {advice}")
