"""What a process pays once is timed once, and only where it was this process that paid."""

from __future__ import annotations

import pytest

from model import startup


@pytest.fixture(autouse=True)
def _nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "seconds", {})


def test_the_first_body_counts_and_one_that_fails_does_not() -> None:
    with pytest.raises(ValueError, match="no device"), startup.timed("set_device"):
        raise ValueError("no device")
    assert startup.seconds == {}
    with startup.timed("set_device"):
        pass
    first = dict(startup.seconds)
    with startup.timed("set_device"):
        pass
    assert startup.seconds == first


def test_a_module_that_is_there_already_has_no_time() -> None:
    with startup.importing("json"):
        pass
    with startup.importing("a_module_that_nobody_brings"):
        pass
    assert startup.seconds == {}


def test_a_body_that_brings_a_module_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(startup.sys.modules, "colorsys", raising=False)  # type: ignore[attr-defined]
    with startup.importing("colorsys"):
        import colorsys  # noqa: F401
    assert startup.seconds.keys() == {"colorsys"}
