"""Captures of hostile machines: pipes, bombs, links that lead out, files of one long line or a million short ones."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from env.audit import command as audit
from env.probe import probe
from env.probe.snapshot import LONGEST_VALUE

SITE = "/usr/lib/python3.11/site-packages"
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "machine": "aarch64",
    "python": {"version": "3.11.9", "implementation": "CPython", "executable": "/usr/bin/python3"},
    "environ": {},
    "sites": [SITE],
    "commands": {"npu-smi-info": 1, "hal-count": 0},
}
PLACES = (
    "/etc/os-release",
    "/proc/meminfo",
    "/usr/local/Ascend/driver/version.info",
    "/etc/ascend_install.info",
    "/.capture/commands/npu-smi-info.txt",
    "/.capture/manifest.json",
    f"{SITE}/torch_npu-1.dist-info/METADATA",
    f"{SITE}/torch_npu-1.dist-info/RECORD",
)


def tree(root: Path, **changes: Any) -> Path:
    (root / ".capture" / "commands").mkdir(parents=True)
    (root / ".capture" / "manifest.json").write_text(json.dumps(MANIFEST | changes), encoding="utf-8")
    return root


def place(root: Path, path: str) -> Path:
    here = root / path.lstrip("/")
    here.parent.mkdir(parents=True, exist_ok=True)
    here.unlink(missing_ok=True)
    return here


@pytest.mark.parametrize("path", PLACES)
def test_a_pipe_is_never_waited_for(path: str, tmp_path: Path) -> None:
    os.mkfifo(place(tree(tmp_path), path))
    assert audit.main(["--root", str(tmp_path)]) in (0, 10)


@pytest.mark.parametrize("path", PLACES)
def test_a_link_to_an_endless_file_and_a_sparse_one_are_not_read(path: str, tmp_path: Path) -> None:
    one, other = tree(tmp_path / "one"), tree(tmp_path / "other")
    place(one, path).symlink_to("/dev/zero")
    with place(other, path).open("wb") as file:
        file.truncate(20 << 30)
    assert audit.main(["--root", str(one)]) in (0, 10)
    assert audit.main(["--root", str(other)]) in (0, 10)


@pytest.mark.parametrize("path", PLACES)
def test_no_link_shows_a_file_of_the_auditor(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text('PRETTY_NAME="MARKER-1"\nVersion=MARKER-2\nMARKER-3:!:20593\n', encoding="utf-8")
    root = tree(tmp_path / "root")
    place(root, path).symlink_to(secret)
    host = probe(root=root)
    assert "MARKER" not in repr(host)
    audit.main(["--root", str(root), "--json"])
    assert "MARKER" not in capsys.readouterr().out


def test_a_capture_folder_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / ".capture").symlink_to(outside / ".capture")
    assert not probe(root=root).answered


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("text", ["a" * (4 << 20), "a: b\n" * 160_000], ids=["4 MB in one line", "160,000 lines"])
def test_size_takes_linear_time(path: str, text: str, tmp_path: Path) -> None:
    place(tree(tmp_path), path).write_text(text, encoding="utf-8")
    started = time.process_time()
    assert audit.main(["--root", str(tmp_path)]) in (0, 10)
    assert time.process_time() - started < 15.0  # 0.1 to 0.7 s here; what is quadratic takes minutes


@pytest.mark.parametrize(
    "environ",
    [{"ASCEND_HOME_PATH": "/a" * 500_000}, {"ASCEND_HOME_PATH": "/a" * (LONGEST_VALUE // 2)}],
    ids=["longer than a variable", "as long as one"],
)
def test_a_path_of_many_parts_ends(environ: dict[str, str], tmp_path: Path) -> None:
    assert audit.main(["--root", str(tree(tmp_path, environ=environ))]) in (0, 10)


@pytest.mark.parametrize(
    "answer",
    ['{"count": {}, "library": 5, "error": null}', '{"library": 5}', "[" * 50_000, '{"count": 1e400}', "5", ""],
)
def test_an_edited_answer_of_the_driver_is_no_count(answer: str, tmp_path: Path) -> None:
    place(tree(tmp_path), "/.capture/commands/hal-count.txt").write_text(answer, encoding="utf-8")
    assert probe(root=tmp_path).hal.count is None
    assert audit.main(["--root", str(tmp_path)]) in (0, 10)


@pytest.mark.parametrize("name", ["\\ud800", "\\udfff"])
def test_half_a_character_in_a_manifest_is_damage(name: str, tmp_path: Path) -> None:
    text = json.dumps(MANIFEST).replace("aarch64", name)
    place(tree(tmp_path), "/.capture/manifest.json").write_text(text, encoding="utf-8")
    host = probe(root=tmp_path)
    assert not host.answered
    assert audit.main(["--root", str(tmp_path)]) in (0, 10)


def test_a_version_of_5000_digits_is_noted(tmp_path: Path) -> None:
    text = f"Name: numpy\nVersion: {'1' * 5000}\n\n"
    place(tree(tmp_path), f"{SITE}/numpy-1.26.4.dist-info/METADATA").write_text(text, encoding="utf-8")
    host = probe(root=tmp_path)
    assert [each.version for each in host.distributions] == ["1.26.4"]
    assert audit.main(["--root", str(tmp_path)]) in (0, 10)


def test_a_hundred_thousand_folders_of_packages_are_no_machine(tmp_path: Path) -> None:
    host = probe(root=tree(tmp_path, sites=[f"/a{number}" for number in range(100_000)]))
    assert not host.answered
    assert host.sites == ()
