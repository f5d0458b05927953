"""A capture holds what the probe read, is read back to the same facts, and tells nobody whose machine it was."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from env import capture as module
from env.audit import audit
from env.capture import Scrubber, capture, scrubber
from env.errors import StorageError
from env.probe import collect, probe, snapshot
from env.probe.host import Disk
from env.probe.snapshot import LiveCommands, live
from env.probe.tree import Tree
from env.runner import Completed
from env.stack import load_stack
from tests.env import machines

HOST = "npu-node-17.corp.example"
SECRETS = ("hunter2", "alice", "npu-node-17", "corp.example", "10.20.30.40", "fe80::1234:5678", "02:42:ac:11:00:02")
SMI = machines.npu_smi_table(
    {
        "version": "24.1.0.1",  # a version that looks like an address
        "chips": [
            {"npu": 0, "chip": 0, "phy": "", "name": "910B4", "health": "OK", "power": "86.2"}
            | {"bus": "0000:C1:00.0", "used": 2811, "total": 32768}
        ],
        "processes": [{"npu": 0, "chip": 0, "pid": 41, "name": "alice 10.20.30.40", "memory": 100}],
    }
)
SMI += "warning from npu-node-17: fe80::1234:5678 02:42:ac:11:00:02\nSerial Number : 0123-hunter2\n"
ENVIRON = {
    "HOME": "/home/alice",
    "USER": "alice",
    "WANDB_API_KEY": "hunter2",
    "https_proxy": "http://alice:hunter2@10.20.30.40:3128",
    "ASCEND_HOME_PATH": "/usr/local/Ascend/cann-8.5.1",
    "ASCEND_OPP_PATH": "/usr/local/Ascend/cann-8.5.1/opp",
    "LD_LIBRARY_PATH": "/usr/local/Ascend/cann-8.5.1/lib64:/home/alice/lib:/usr/local/Ascend/driver/lib64/driver",
    "PYTHONPATH": "/home/alice/src",
}


SAME = (
    "system python user install driver firmware toolkits nnal nodes modules pci leads_to sites distributions leftovers"
)


def answers(args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None) -> Completed:
    if args[-1] == "info":
        return Completed(tuple(args), 0, SMI)
    return Completed(tuple(args), 0, json.dumps({"count": 1, "library": "/home/alice/x.so", "error": None}))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole machine under a folder, with a user and a name of its own."""
    root = tmp_path / "machine"
    machines.build("healthy-910b4", root)
    (root / "home/alice/src/torch_npu").mkdir(parents=True)
    (root / "home/alice/src/torch_npu/__init__.py").write_text("token = 'hunter2'\n")
    metadata = root / machines.SITE.lstrip("/") / "requests-2.32.5.dist-info/METADATA"
    metadata.write_text("Name: requests\nVersion: 2.32.5\nAuthor-email: alice@corp.example\n\nhunter2\n")
    monkeypatch.setattr(module, "_user", lambda: "alice")
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    # Free space changes from one look to the next.
    monkeypatch.setattr(snapshot, "_disks", lambda: (Disk("environments", "/opt", 900, 600),))
    return root


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")  # refuses links that lead out, devices, absolute names
    return folder


def test_nothing_secret_gets_in(machine: Path, tmp_path: Path) -> None:
    capture(tmp_path / "out.tar.gz", root=machine, runner=answers, environ=ENVIRON, sites=[machines.SITE])
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        held = [f"{member.name} {member.linkname} {member.uname} {member.uid} {member.mtime}" for member in archive]
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            held.append(file.read().decode() if file else "")
    everything = "\n".join(held)
    assert [secret for secret in SECRETS if secret in everything] == []
    assert "Version: 24.1.0.1" in everything
    assert "/home/user/lib" in everything


def test_a_capture_is_read_back_to_the_same_facts(machine: Path, tmp_path: Path) -> None:
    capture(tmp_path / "out.tar.gz", root=machine, runner=answers, environ=ENVIRON, sites=[machines.SITE])
    there = probe(unpack(tmp_path / "out.tar.gz", tmp_path / "elsewhere"))
    here = collect(Tree(machine), live(ENVIRON, [machines.SITE]), LiveCommands(answers, ENVIRON))
    clean = Scrubber("/home/alice", {"alice": "user", HOST: "host", "npu-node-17": "host"})
    assert there.environ == {name: clean.text(value) for name, value in here.environ.items()}
    assert [each.path for each in there.packages] == [clean.text(each.path) for each in here.packages]
    assert there.npu_smi.chips == here.npu_smi.chips
    for name in SAME.split():
        assert getattr(there, name) == getattr(here, name), name
    assert there.captured
    assert there.ascend


def test_what_could_not_be_read_is_told_with_the_capture(machine: Path, tmp_path: Path) -> None:
    (machine / "usr/local/Ascend/firmware/version.info").write_text("nothing\n")
    capture(tmp_path / "out.tar.gz", root=machine, runner=answers, environ=ENVIRON, sites=[machines.SITE])
    host = probe(unpack(tmp_path / "out.tar.gz", tmp_path / "elsewhere"))
    assert "/usr/local/Ascend/firmware/version.info" in {each.where for each in host.unread}


def test_the_user_is_told_what_it_holds(machine: Path, tmp_path: Path) -> None:
    lines = capture(tmp_path / "out.tar.gz", root=machine, runner=answers, environ=ENVIRON, sites=[machines.SITE])
    text = "\n".join(lines)
    assert "    /usr/local/Ascend/driver/version.info" in lines
    assert "  what 2 commands printed: hal-count, npu-smi-info" in lines
    assert "ASCEND_HOME_PATH" in text
    assert [secret for secret in SECRETS if secret in text] == []


def test_an_unwritable_place_is_one_clear_error(machine: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        capture(
            tmp_path / "absent" / "out.tar.gz", root=machine, runner=answers, environ=ENVIRON, sites=[machines.SITE]
        )
    assert not list(tmp_path.glob("**/*.tmp"))


def test_names_that_the_vendor_uses_too_are_kept(machine: Path) -> None:
    tree = Tree(machine)
    tree.read("/usr/local/Ascend/driver/version.info")
    assert scrubber(tree, "/home/driver", "driver", "Ascend").names == {}
    assert scrubber(tree, "/home/alice", "alice", HOST).names == {
        HOST: "host",
        "npu-node-17": "host",
        "alice": "user",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("| npu-smi 24.1.0.1    Version: 24.1.0.1 |", "| npu-smi 24.1.0.1    Version: 24.1.0.1 |"),
        ("| 0   | 0000:C1:00.0  | 12:30:45 |", "| 0   | 0000:C1:00.0  | 12:30:45 |"),
        ("connect 10.1.2.3 failed", "connect left-out failed"),
        ("bind 0.0.0.0", "bind 0.0.0.0"),
        ("2001:db8::1 is down", "left-out is down"),
        ("Serial Number : 02K8", "Serial Number : left-out"),
        ("malice and alice", "malice and user"),
    ],
)
def test_lines_are_scrubbed(line: str, expected: str) -> None:
    assert Scrubber("/home/alice", {"alice": "user"}).output(line) == expected


def test_a_tree_without_a_manifest_is_read_by_its_files(machine: Path) -> None:
    whole = probe(machine)
    (machine / ".capture/manifest.json").unlink()
    host = probe(machine)
    assert host.driver == whole.driver
    assert [toolkit.release for toolkit in host.toolkits] == ["8.5.1"]
    assert [each.where for each in host.unread] == [".capture/manifest.json"]
    assert [finding.id for finding in audit(host, load_stack(), profile="npu")] == ["unread"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema": 7}', '{"schema": 1, "machine": 3}', '{"schema": 1, "x": 1}']
)
def test_a_damaged_manifest_is_noted(text: str, machine: Path) -> None:
    (machine / ".capture/manifest.json").write_text(text)
    host = probe(machine)
    assert [each.where for each in host.unread] == [".capture/manifest.json"]
    assert replace(host, unread=()).driver is not None
