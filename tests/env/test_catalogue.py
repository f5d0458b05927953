"""The Chinese catalogue is complete and current, and what keeps it so sees what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from env import catalogue
from env.catalogue import CATALOGUE, documents, messages, problems, read, write
from env.errors import VerificationFailedError


def test_every_message_has_its_translation() -> None:
    assert problems(messages(), read()) == []


def test_the_compiled_catalogue_is_that_of_the_text() -> None:
    assert documents(read()) == (CATALOGUE.read_bytes(), CATALOGUE.with_suffix(".mo").read_bytes())


@pytest.mark.parametrize(
    ("translated", "expected"),
    [
        ({"a {n}": "甲 {n}"}, []),
        ({}, ["not translated: 'a {n}'"]),
        ({"a {n}": ""}, ["not translated: 'a {n}'"]),
        ({"a {n}": "甲"}, ["other fields in the translation of 'a {n}': ['n']"]),
        ({"a {n}": "甲 {m}"}, ["other fields in the translation of 'a {n}': ['m', 'n']"]),
        ({"a {n}": "甲 {n}", "b": "乙"}, ["stale: 'b'"]),
    ],
)
def test_what_is_not_in_step_is_named(translated: dict[str, str], expected: list[str]) -> None:
    assert problems(["a {n}"], translated) == expected


def test_messages_come_from_code_templates_and_tables(tmp_path: Path) -> None:
    for folder in ("env/audit", "model", "verify", "templates", *(str(Path(name).parent) for name in catalogue.TABLES)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in catalogue.TABLES:
        (tmp_path / name).touch()
    for name in ("noxfile.py", "inference.py", "eval.py"):
        (tmp_path / name).write_text(f"print(_('in {name}'))")
    (tmp_path / "verify/x.py").write_text("_('{n} of ' '{m}', n=1, m=2); say('not this'); _(variable)")
    (tmp_path / "templates/a.md.j2").write_text('{% if x %}| {{ _("in a template", n=1) | cell }} |{% endif %}')
    (tmp_path / "env/audit/rules.toml").write_text('[r]\nwhat = "a finding"\nsource = "no message"\n')
    (tmp_path / "env/failures.toml").write_text('[[failure]]\nid = "X"\ncause = "a cause"\nfix = "a fix"\n')
    assert messages(tmp_path) == [
        "in noxfile.py", "in inference.py", "in eval.py", "{n} of {m}", "in a template",
        "a finding", "a cause", "a fix",
    ]  # fmt: skip


def test_a_catalogue_is_written_the_same_twice(tmp_path: Path) -> None:
    path = tmp_path / "zh" / "messages.po"
    write({"b": "乙", "a {n}": '甲 {n} "引" \n换行'}, path)
    first = path.read_bytes(), path.with_suffix(".mo").read_bytes()
    write(read(path), path)
    assert (path.read_bytes(), path.with_suffix(".mo").read_bytes()) == first


def test_check_fails_where_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "messages.po"
    write({}, path)
    monkeypatch.setattr(catalogue, "CATALOGUE", path)
    monkeypatch.setattr(catalogue, "read", lambda: read(path))
    monkeypatch.setattr(catalogue, "messages", lambda: ["new"])
    with pytest.raises(VerificationFailedError, match="not translated: 'new'"):
        catalogue.main(["--check"])
