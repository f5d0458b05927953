"""A reader whose language is Chinese, with a catalogue of the test's own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from env import language


def read_by_chinese(monkeypatch: pytest.MonkeyPatch, catalogue: Mapping[str, str]) -> None:
    """Make the terminal's language Chinese; a message that `catalogue` lacks stays English, as with a real one."""
    for variable in language.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    monkeypatch.setattr(
        language, "_translated", lambda text, chosen: text if chosen == "en" else catalogue.get(text, text)
    )
