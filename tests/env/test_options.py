"""Options that several programs share: declared once, handed on as they were typed, recorded as one would type them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from env import options
from env import setup as env_setup
from env.arguments import Parser
from env.device_name import DeviceName
from env.options import (
    INVOKED_FROM,
    MAIN_JOB,
    RUN,
    SETUP,
    TARGET,
    VERIFY,
    main_job_parser,
    only,
    place,
    repeating,
    without,
)
from verify import __main__ as verify
from verify.report import __main__ as report


@pytest.mark.parametrize(
    ("text", "label"),
    [("auto", "auto"), ("cpu", "cpu"), ("cpu:0", "cpu"), ("npu", "npu:0"), ("npu:3", "npu:3"), ("cuda:1", "cuda:1")],
)
def test_a_device_is_spelled_as_torch_spells_it_and_shown_as_it_was_typed(text: str, label: str) -> None:
    name = DeviceName.parse(text)
    assert (name.label, str(name)) == (label, text)
    assert name.is_same(DeviceName.parse(label))


@pytest.mark.parametrize("text", ["", "tpu", "npu:", "npu:x", "npu:00000", "cpu:1", "NPU:0", "npu:0 ", "npu:²"])
def test_what_names_no_device_is_refused_where_typed_and_nothing_in_a_record(text: str) -> None:
    with pytest.raises(ValueError, match="no device"):
        DeviceName.parse(text)
    assert DeviceName.parse_or_none(text) is None


@pytest.mark.parametrize("parser", [env_setup.make_parser(), verify.make_parser(), report.make_parser()])
def test_each_program_of_the_main_job_takes_the_options_of_all(parser: Parser) -> None:
    argv = ["--device", "npu:1", "--offline", "--level", "3", "--strict", "--faults", "f.json", "--lang", "en"]
    parsed = parser.parse_args(argv)
    assert (parsed.device, parsed.offline, parsed.level, parsed.strict) == ("npu:1", True, 3, True)


def test_a_program_s_help_shows_its_own_options() -> None:
    own = report.make_parser().format_help()
    assert all(flag in own for flag in ("--run", "--results", "--strict", "--faults"))
    assert not any(flag in own for flag in ("--level", "--offline", "--device"))


def test_no_two_options_of_the_main_job_share_a_name() -> None:
    flags = [option.flag for group in MAIN_JOB.values() for option in group]
    assert len(set(flags)) == len(flags)


TYPED = ["--device=npu:0", "--find-links", "a b", "--allow-substitute", "--check", "load", "--fresh", "--run", "r1"]


def test_a_command_line_is_taken_apart_by_option_and_kept_as_typed() -> None:
    assert only(TYPED, SETUP) == ["--find-links", "a b", "--allow-substitute", "--fresh"]
    assert only(TYPED, VERIFY) == ["--check", "load"]
    assert without(TYPED, (*TARGET, *SETUP)) == ["--check", "load"]
    assert without(TYPED, [RUN]) == TYPED[:-2]
    assert repeating("setup", TYPED) == ("nox -s setup -- --device=npu:0 --find-links 'a b' --allow-substitute --fresh")


@pytest.mark.parametrize("option", list(MAIN_JOB["verify"]), ids=lambda option: str(option.flag))
def test_a_default_need_not_be_typed_and_what_is_typed_means_the_value(option: options.Option) -> None:
    parser = main_job_parser("program")
    assert option.to_argv(getattr(parser.parse_args([]), option.name)) == []
    if option.settings.get("action") is None:
        value = option.settings.get("choices", ("7",))[-1]
        parsed = getattr(parser.parse_args([option.flag, str(value)]), option.name)
        assert option.to_argv(parsed)[0] == option.flag


def test_a_path_means_what_it_meant_where_nox_was_called_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv(INVOKED_FROM, str(tmp_path))
    assert place("wheels") == str(tmp_path / "wheels")
    assert place("nowhere") == "nowhere"
    assert place("https://wheels.example/all") == "https://wheels.example/all"
    monkeypatch.chdir(tmp_path)
    assert place("wheels") == "wheels"
    monkeypatch.delenv(INVOKED_FROM)
    assert place("wheels") == "wheels"


@pytest.mark.parametrize(
    "text", ["x" * 300, "runs/" + "é" * 128, "caf\udce9", "a\0b"], ids=["long", "bytes", "bytes", "nul"]
)
def test_what_no_file_can_be_called_is_refused_where_it_is_typed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"no name that a file may have|no UTF-8"):
        place(text)


def test_a_long_path_of_short_names_is_one() -> None:
    assert place("/".join(["x" * 250] * 3))
