"""Messages: English as strings, another language on demand, and a record's form that holds both."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from env import language
from env.language import Message, _, joined, set_language, translate, user_language

CHINESE = {"{n} devices": "{n} 个设备", "no {what}": "没有{what}", "driver": "驱动", "far": "偏差过大"}


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small catalogue in place of the shipped one, and a locale that says nothing."""
    monkeypatch.setattr(
        language, "_translated", lambda text, chosen: CHINESE.get(text, text) if chosen == "zh" else text
    )
    for name in language.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("message", "english", "chinese"),
    [
        (_("far"), "far", "偏差过大"),
        (_("{n} devices", n=2), "2 devices", "2 个设备"),
        (_("no {what}", what=_("driver")), "no driver", "没有驱动"),
        (_("no {what}", what="npu:0"), "no npu:0", "没有npu:0"),
        (joined(_("far"), _("{n} devices", n=2)), "far; 2 devices", "偏差过大；2 个设备"),
        (_("rel {error:.1e}", error=0.0123), "rel 1.2e-02", "rel 1.2e-02"),
        (_("rel {error:.1e}", error=float("nan")), "rel nan", "rel nan"),
        (_("{count:,} of {share:.0%}", count=12345, share=0.5), "12,345 of 50%", "12,345 of 50%"),
        (_("a brace { without fields"), "a brace { without fields", "a brace { without fields"),
    ],
)
def test_a_message_reads_in_both_languages_and_survives_its_record(
    message: Message, english: str, chinese: str
) -> None:
    for one in (
        message,
        Message.from_json(json.loads(json.dumps(message.as_json(), allow_nan=False))),
        copy.deepcopy(message),
        pickle.loads(pickle.dumps(message)),
    ):
        assert one == str(one) == translate(one, "en") == english
        assert translate(one, "zh") == chinese


def test_a_string_is_a_message_without_fields() -> None:
    assert translate("driver", "zh") == "驱动"
    assert translate("anything {else}", "zh") == "anything {else}"
    assert Message.from_json("anything {else}") == "anything {else}"


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        ["far"],
        {"message": "far"},
        {"message": 1, "fields": {}},
        {"message": "{n}", "fields": []},
        {"message": "{n}", "fields": {"m": 1}},
        {"message": "{n.__class__}", "fields": {"n": 1}},
        {"message": "{n[0]}", "fields": {"n": [1]}},
        {"message": "{0}", "fields": {"n": 1}},
        {"message": "{", "fields": {"n": 1}},
        {"message": "far", "fields": {}, "more": 1},
    ],
)
def test_a_record_s_message_reaches_into_nothing(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Message.from_json(value)


def test_a_width_from_elsewhere_fills_no_memory() -> None:
    assert Message.from_json({"message": "{n:999999999}", "fields": {"n": 1}}) == "1"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "C", "LC_ALL": "zh_CN"}, "zh"),
        ({"LANG": "C", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANGUAGE": "zh:en", "LANG": "de_DE"}, "zh"),
        ({"LANGUAGE": "en", "LC_ALL": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_is_the_locale_s(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert user_language() == expected


def test_what_is_set_wins_and_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    set_language("en")
    assert translate(_("far")) == "far"
    set_language("zh")
    assert translate(_("far")) == "偏差过大"


def test_the_catalogue_lies_where_gettext_looks() -> None:
    assert (language.LOCALE / "zh" / "LC_MESSAGES" / f"{language.DOMAIN}.mo").is_file()
    assert Path(language.LOCALE).name == "locale"
