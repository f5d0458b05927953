"""A machine's files under a root: links stay inside, nothing raises, everything that was looked at is remembered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from env import elsewhere
from env.probe.tree import KIND, Tree


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

    monkeypatch.setattr(os, "open", refuse)
    tree = Tree(tmp_path)
    assert tree.read("/secret") is None
    assert [(each.where, each.why) for each in tree.notes()] == [("/secret", "Permission denied")]


def test_a_folder_and_a_huge_file_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(elsewhere.limit(KIND) + 1)
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


def test_a_long_chain_of_links_is_absent_and_never_left_to_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside\n")
    root = tmp_path / "root"
    root.mkdir()
    (root / "0").symlink_to(tmp_path / "secret")
    for number in range(1, 60):
        (root / str(number)).symlink_to(f"/{number - 1}")
    tree = Tree(root)
    assert [tree.read(f"/{number}") for number in (0, 30, 39, 40, 41, 59)] == [None] * 6
    assert tree.names("/45") == []
    assert tree.notes() == ()


def test_a_pipe_is_noted_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "os-release")
    tree = Tree(tmp_path)
    assert tree.read("/os-release") is None
    assert [each.why for each in tree.notes()] == ["not a regular file"]


def test_no_path_is_longer_than_linux_takes(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert not tree.exists("/a" * 500_000)
    assert tree.real("/a" * 500_000) == "/a" * 500_000
