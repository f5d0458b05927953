"""A machine's files under a root: links stay inside, nothing raises, everything that was looked at is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from env.probe.tree import LONGEST, Tree


def test_absolute_links_stay_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "opt/cann-8.5.1").mkdir(parents=True)
    (tmp_path / "opt/cann-8.5.1/version.cfg").write_text("inside\n")
    (tmp_path / "opt/cann").symlink_to("/opt/cann-8.5.1")
    tree = Tree(tmp_path)
    assert tree.real("/opt/cann/version.cfg") == "/opt/cann-8.5.1/version.cfg"
    assert tree.read("/opt/cann/version.cfg") == "inside\n"
    assert tree.links == {"/opt/cann": "/opt/cann-8.5.1"}


def test_links_that_climb_end_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("captured\n")
    (tmp_path / "up").symlink_to("../../../../../../../etc")
    assert Tree(tmp_path).read("/up/passwd") == "captured\n"


def test_a_circle_of_links_is_absent(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    tree = Tree(tmp_path)
    assert tree.read("/a") is None
    assert not tree.exists("/a/c")


def test_what_cannot_be_read_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    tree = Tree(tmp_path)
    assert tree.read("/secret") is None
    assert [(each.where, each.why) for each in tree.notes()] == [("/secret", "Permission denied")]


def test_a_folder_and_a_huge_file_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(LONGEST + 1)
    tree = Tree(tmp_path)
    assert tree.read("/folder") is None
    assert tree.read("/huge") is None
    assert {each.where for each in tree.notes()} == {"/folder", "/huge"}


def test_absent_files_are_no_news(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert tree.read("/etc/os-release") is None
    assert tree.names("/usr/local/Ascend") == []
    assert not tree.exists("bad\0name")
    assert [each.why for each in tree.notes()] == ["embedded null byte"]


def test_undecodable_text_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"Version=\xff\xfe8.5.0\n")
    assert Tree(tmp_path).read("/file") == "Version=\ufffd\ufffd8.5.0\n"


def test_of_a_crowded_folder_one_entry_is_remembered(tmp_path: Path) -> None:
    for name in ("ops_oam", "ops_nn", "ops_math"):
        (tmp_path / "kernel" / name).mkdir(parents=True)
    tree = Tree(tmp_path)
    assert tree.holds_more_than("/kernel", "ops_oam")
    assert set(tree.kinds) == {"/kernel", "/kernel/ops_math"}
