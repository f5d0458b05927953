"""A folder whose files are not those of its SHA256SUMS is refused by their names; sha256sum itself is the oracle."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from env.errors import CheckpointError
from env.stack import ROOT
from model import checksums
from model.checkpoint import INDEX_FILE, inspect
from model.checksums import SHA256SUMS

FIRST, SECOND, THIRD = (f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
DIGEST = "0123456789abcdef" * 4
COMMAND = "sha256sum *.safetensors config.json > SHA256SUMS"


@pytest.fixture
def folder(sharded: Path, tmp_path: Path) -> Path:
    """A whole checkpoint in three shards, with the list that README's command makes."""
    copy = Path(shutil.copytree(sharded, tmp_path / "granite-speech-4.1-2b"))
    (copy / "STAND_IN.json").unlink()
    subprocess.run(COMMAND, shell=True, cwd=copy, check=True)
    return copy


def edit(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / SHA256SUMS
    path.write_bytes(change(path.read_text(encoding="utf-8")).encode())


def add(folder: Path, line: str) -> None:
    edit(folder, lambda text: f"{text}{line}\n")


def add_folder(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    add(folder, f"{DIGEST}  {name}")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip_last_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def problems(folder: Path) -> list[str]:
    with pytest.raises(CheckpointError) as caught:
        checksums.compare(inspect(folder))
    what, *listed = caught.value.what.split("\n  - ")
    assert what == f"the checkpoint in {folder} is not what its SHA256SUMS lists:"
    assert caught.value.next == f"cd {folder} && sha256sum -c SHA256SUMS"
    return listed


SAME: dict[str, Callable[[str], str]] = {
    "as sha256sum makes it": lambda text: text,
    "read in binary mode": lambda text: text.replace("  ", " *"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "no last newline": lambda text: text.rstrip("\n"),
    "comments and empty lines": lambda text: f"# revision 8f4bb5f3\n\n{text}  \n#\n",
    "upper case": lambda text: "".join(line[:64].upper() + line[64:] for line in text.splitlines(keepends=True)),
    "names from here": lambda text: text.replace("  ", "  ./"),
    "every line twice": lambda text: text + text,
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_files_as_listed_are_named(folder: Path, change: Callable[[str], str]) -> None:
    edit(folder, change)
    assert checksums.compare(inspect(folder)) == (FIRST, SECOND, THIRD, "config.json")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_readme_says_how_the_list_is_made(name: str) -> None:
    assert f"`{COMMAND}`" in (ROOT / name).read_text(encoding="utf-8")


def test_without_a_list_nothing_is_said(folder: Path) -> None:
    (folder / SHA256SUMS).unlink()
    assert checksums.compare(inspect(folder)) is None


def test_a_written_list_is_one_that_sha256sum_checks(folder: Path) -> None:
    (folder / ".hidden").touch()
    (folder / "README.md").touch()
    checksums.write(folder, leave_out=("README.md",))
    subprocess.run(["sha256sum", "--strict", "-c", SHA256SUMS], cwd=folder, check=True, capture_output=True)
    assert set(checksums.compare(inspect(folder)) or ()) == {FIRST, SECOND, THIRD, "config.json", INDEX_FILE}


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda f: flip_last_bit(f / SECOND), f"{SECOND} differs: sha256 "),
    "another config": (
        lambda f: (f / "config.json").write_bytes((f / "config.json").read_bytes() + b" "),
        "config.json differs: sha256 ",
    ),
    "listed and missing": (lambda f: add(f, f"{DIGEST}  tokenizer.json"), "tokenizer.json is missing"),
    "a folder of that name": (
        lambda f: add_folder(f, "x"),
        "x cannot be read: Is a directory",
    ),
    "a shard unlisted": (
        lambda f: edit(f, lambda text: "".join(line for line in text.splitlines(True) if SECOND not in line)),
        f"{SECOND} is not listed",
    ),
    "weights that no index names": (
        lambda f: shutil.copy(f / FIRST, f / "other.safetensors"),
        "other.safetensors is not listed",
    ),
    "a name above the folder": (
        lambda f: add(f, f"{DIGEST}  ../config.json"),
        "SHA256SUMS line 5 leaves the folder: ../config.json",
    ),
    "a name above it by a detour": (
        lambda f: add(f, f"{DIGEST}  x/../../y"),
        "SHA256SUMS line 5 leaves the folder: x/../../y",
    ),
    "an absolute name": (
        lambda f: add(f, f"{DIGEST} */etc/hostname"),
        "SHA256SUMS line 5 leaves the folder: /etc/hostname",
    ),
    "two digests of one file": (
        lambda f: add(f, f"{DIGEST}  config.json"),
        "SHA256SUMS line 5 lists config.json again, with another sha256",
    ),
    "a digest cut short": (
        lambda f: add(f, f"{DIGEST[:60]}  tokenizer.json"),
        f"SHA256SUMS line 5 is unreadable: '{DIGEST[:60]}  tokenizer.json'",
    ),
    "one space": (lambda f: add(f, f"{DIGEST} x"), f"SHA256SUMS line 5 is unreadable: '{DIGEST} x'"),
    "BSD's format": (
        lambda f: add(f, f"SHA256 (config.json) = {DIGEST}"),
        f"SHA256SUMS line 5 is unreadable: 'SHA256 (config.json) = {DIGEST}'",
    ),
    "a name with a control character": (
        lambda f: add(f, f"{DIGEST}  a\0b"),
        f"SHA256SUMS line 5 is unreadable: '{DIGEST}  a\\x00b'",
    ),
    "a list in UTF-16": (
        lambda f: (f / SHA256SUMS).write_text("x", encoding="utf-16"),
        "SHA256SUMS is no text",
    ),
    "a list that is a folder": (
        lambda f: make_folder(f / SHA256SUMS),
        "SHA256SUMS cannot be read: Is a directory",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_and_nothing_else(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    (problem,) = problems(folder)
    assert problem.startswith(message)


def test_an_empty_list_vouches_for_no_weights(folder: Path) -> None:
    edit(folder, lambda text: "")
    assert problems(folder) == [f"{name} is not listed" for name in (FIRST, SECOND, THIRD)]


def test_a_web_page_saved_as_the_list_is_counted_not_copied(folder: Path) -> None:
    edit(folder, lambda text: "<p>404</p>\n" * 200)
    found = problems(folder)
    assert found[0] == "SHA256SUMS line 1 is unreadable: '<p>404</p>'"
    assert found[5] == "195 more lines of SHA256SUMS are unreadable"
    assert len(found) == 9


def test_every_file_is_named_at_once(folder: Path) -> None:
    flip_last_bit(folder / FIRST)
    flip_last_bit(folder / THIRD)
    add(folder, f"{DIGEST}  tokenizer.json\n{DIGEST}  ../x\nnonsense")
    shutil.copy(folder / FIRST, folder / "other.safetensors")
    assert [problem.partition(": sha256")[0] for problem in problems(folder)] == [
        "SHA256SUMS line 7 is unreadable: 'nonsense'",
        "SHA256SUMS line 6 leaves the folder: ../x",
        f"{FIRST} differs",
        f"{THIRD} differs",
        "tokenizer.json is missing",
        "other.safetensors is not listed",
    ]


def test_the_folder_of_the_next_command_is_quoted(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "granite speech; 2b")
    flip_last_bit(moved / FIRST)
    with pytest.raises(CheckpointError) as caught:
        checksums.compare(inspect(moved))
    assert caught.value.next == f"cd '{moved}' && sha256sum -c SHA256SUMS"


def test_digests_of_weights_are_kept_and_those_of_small_files_are_not(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "digests.json"
    assert checksums.compare(inspect(folder), cache)
    kept = json.loads(cache.read_text(encoding="utf-8"))
    assert sorted(Path(key.split(":")[0]).name for key in kept) == [FIRST, SECOND, THIRD]
    cache.write_text(json.dumps(dict.fromkeys(kept, DIGEST)), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"the file has 0123456789ab\.\.\."):
        checksums.compare(inspect(folder), cache)


def test_shards_that_are_links_into_another_folder_are_files(folder: Path, tmp_path: Path) -> None:
    """As a hub's cache keeps them: the folder of a revision holds links to blobs."""
    shutil.move(folder / FIRST, tmp_path / "blob")
    (folder / FIRST).symlink_to(tmp_path / "blob")
    assert FIRST in (checksums.compare(inspect(folder)) or ())
