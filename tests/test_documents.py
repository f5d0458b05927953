"""README in both languages: the same sections, and tables that agree with what they were made from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from env import errors
from env.stack import ROOT, load_stack

READMES = [ROOT / "README.md", ROOT / "README.zh.md"]


def table(path: Path, source: str) -> list[tuple[str, str]]:
    """The rows of the table that says it comes `from source`, without its head."""
    text = path.read_text(encoding="utf-8")
    block = text.split(f"<!-- from {source} -->")[1].split("<!-- end -->")[0]
    rows = [line.strip("| ").split(" | ", 1) for line in block.strip().splitlines()]
    return [(row[0], row[1]) for row in rows[2:]]


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_version_table_is_the_declared_stack(path: Path) -> None:
    stack = load_stack()
    declared = [("Python", ", ".join(stack.pythons)), ("CANN", f"{stack.cann_series}.x"), *stack.packages.items()]
    assert table(path, "requirements/stack.toml") == declared


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_every_exit_code_is_documented_and_none_is_invented(path: Path) -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.BundleError)]
    codes = {one.exit_code for one in classes} | {0, errors.INTERRUPTED}
    assert [int(code) for code, _ in table(path, "env/errors.py")] == sorted(codes)


def test_no_two_failures_share_an_exit_code() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.BundleError)]
    assert len({one.exit_code for one in classes}) == len(classes)
    assert not {one.exit_code for one in classes} & {3, 4}, "3 and 4 belong to single commands"


def commands(path: Path) -> list[str]:
    """Every command line of a README's indented blocks, without its comment."""
    lines = re.findall(r"^    (\S.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [line.partition("  #")[0].partition("     #")[0].strip() for line in lines]


def test_both_languages_have_the_same_sections_and_the_same_commands() -> None:
    english, chinese = READMES
    assert commands(english) == commands(chinese)
    heads = [re.findall(r"^(#+) ", path.read_text(encoding="utf-8"), re.MULTILINE) for path in READMES]
    assert heads[0] == heads[1]
