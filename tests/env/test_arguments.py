"""Every program's parser: the user's language, --lang, no abbreviations."""

from __future__ import annotations

import argparse

import pytest

from env import language
from env.arguments import Parser
from env.language import _

CHINESE = {"what it does": "它做什么", "the depth": "深度", "group": "组"}


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Parser:
    monkeypatch.setattr(
        language, "_translated", lambda text, chosen: CHINESE.get(text, text) if chosen == "zh" else text
    )
    monkeypatch.setenv("LANGUAGE", "en")
    parser = Parser(prog="p", description=_("what it does"))
    parser.add_argument_group(_("group")).add_argument("--depth", type=int, help=_("the depth"))
    return parser


@pytest.mark.parametrize("words", [["--lang", "zh"], ["--lang=zh"]])
def test_help_speaks_the_language_that_is_asked_for(
    words: list[str], parser: Parser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args([*words, "--help"])
    shown = capsys.readouterr().out
    assert all(text in shown for text in CHINESE.values())


def test_help_is_english_without(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    shown = capsys.readouterr().out
    assert all(text in shown for text in CHINESE)


@pytest.mark.parametrize("words", [["--dep", "1"], ["--lang", "de"], ["--lang"], ["--depth", "deep"]])
def test_what_it_does_not_know_is_refused(words: list[str], parser: Parser) -> None:
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2


def test_options_are_parsed_as_ever(parser: Parser) -> None:
    assert parser.parse_args(["--depth", "3", "--lang", "zh"]) == argparse.Namespace(depth=3, lang="zh")
