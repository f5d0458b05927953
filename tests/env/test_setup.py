"""Setup looks before it downloads, and leaves a record however it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.version import Version

from env import builder, unlocked_pins
from env import setup as env_setup
from env.errors import InstallError, StorageError, UsageError
from env.installer import Sources
from env.language import Message
from env.options import repeating, run_folder
from env.setup import SetupRequest, canns, main, make_parser, profile_for
from env.stack import ROOT, load_stack, this_machine
from env.unlocked_pins import Located


@pytest.mark.parametrize(
    ("profile", "device", "ascend", "expected"),
    [
        ("auto", "auto", False, "host"),
        ("auto", "auto", True, "npu"),
        ("auto", "npu:0", False, "npu"),
        ("auto", "npu", True, "npu"),
        ("auto", "cuda:1", True, "host"),
        ("auto", "cpu", True, "host"),
        ("host", "npu:0", True, "host"),
    ],
)
def test_the_profile_follows_the_device_unless_it_is_named(
    profile: str, device: str, ascend: bool, expected: str
) -> None:
    assert profile_for(profile, device, ascend) == expected


def test_a_published_release_is_named_with_the_cann_it_needs() -> None:
    assert canns("2.9.0") == "(CANN 8.5.0, 8.5.1)"
    assert canns("2.9.0.post2") == "(CANN 9.0.0)"
    assert canns("0.1") == ""


def run_setup(folder: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException | None) -> dict[str, Any]:
    def prepare(request: SetupRequest) -> Iterator[dict[str, Any]]:
        yield {"profile": "host"}
        if end is not None:
            raise end

    monkeypatch.setattr(env_setup, "prepare", prepare)
    words = ["--device", "cpu", "--results", str(folder), "--run", "r1"]
    if end is None:
        assert main(words) == 0
    else:
        with pytest.raises(type(end)):
            main(words)
    record: dict[str, Any] = json.loads((folder / "r1" / "setup.json").read_text(encoding="utf-8"))
    return record


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (None, "pass", ""),
        (InstallError("pip failed", next="try again"), "fail", "pip failed\n  next: try again"),
        (KeyboardInterrupt(), "error", "interrupted"),
        (ZeroDivisionError(), "error", "stopped before it ended"),
    ],
)
def test_setup_leaves_its_record_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException | None, status: str, reason: str
) -> None:
    record = run_setup(tmp_path, monkeypatch, end)
    said = Message.from_json(record["reason"])
    assert (record["status"], said, record["data"]) == (status, reason, {"profile": "host"})
    assert record["command"] == f"nox -s setup -- --device cpu --results {tmp_path.name}"


def test_the_record_is_there_before_anything_is_done_and_names_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def prepare(request: SetupRequest) -> Iterator[dict[str, Any]]:
        seen.append(json.loads((tmp_path / "r1" / "setup.json").read_text(encoding="utf-8")))
        yield {}

    monkeypatch.setattr(env_setup, "prepare", prepare)
    urls = ["--index-url", "https://me:secret@mirror.example/simple", "--extra-index-url=https://t0ken@two.example/x"]
    assert main([*urls, "--results", str(tmp_path), "--run", "r1"]) == 0
    (begun,) = seen
    assert (begun["status"], begun["reason"]) == ("error", "stopped before it ended")
    assert begun["command"] == (
        "nox -s setup -- --index-url https://mirror.example/simple --extra-index-url=https://two.example/x "
        f"--results {tmp_path.name}"
    )


def test_a_results_folder_that_cannot_be_written_stops_setup_before_it_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(request: SetupRequest) -> Iterator[dict[str, Any]]:
        pytest.fail("setup began")

    monkeypatch.setattr(env_setup, "prepare", prepare)
    (tmp_path / "results").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        main(["--results", str(tmp_path / "results"), "--run", "r1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--allow-substitute", "newest"], "--allow-substitute newest: that is no version"),
        (["--find-links", "no/such/folder"], "--find-links no/such/folder: there is no such folder"),
        (["--offline"], "--offline needs a folder of wheels"),
    ],
)
def test_an_option_without_sense_is_said_before_any_download(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        main(["--device", "cpu", *words])
    assert refused.value.what == said
    assert refused.value.next


def stand(monkeypatch: pytest.MonkeyPatch, venvs: Path, pins: Sequence[Located]) -> None:
    """An npu environment in `venvs` that is current with `pins`, and nothing of them anywhere else."""
    plan = builder.plan("npu", pins, venvs)
    (plan.path / "bin").mkdir(parents=True)
    (plan.path / "bin" / "python").symlink_to(sys.executable)
    stamp = {"digest": plan.digest(), "planned": msgspec.to_builtins(pins)}
    (plan.path / builder.STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    standing = builder.standing
    monkeypatch.setattr(builder, "standing", lambda profile: standing(profile, venvs))
    monkeypatch.setattr(unlocked_pins, "base_site_packages", list)


def requested(words: Iterable[str]) -> SetupRequest:
    return SetupRequest.from_options(make_parser().parse_args(list(words)))


@pytest.mark.parametrize(
    ("installed", "words", "kept"),
    [
        ("", [], True),
        ("", ["--fresh"], False),
        (".post9", [], False),
        (".post9", ["--allow-substitute"], True),
        (".post9", ["--allow-substitute", "VERSION"], True),
        (".post9", ["--allow-substitute", "1.0"], False),
    ],
)
def test_a_second_setup_keeps_what_stands_and_asks_no_index_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str, words: list[str], kept: bool
) -> None:
    pins = load_stack().profiles["npu"].unlocked_on(this_machine())
    base = Version(pins[0].version).base_version
    versions = [base + installed if installed and pin.name == "torch-npu" else pin.version for pin in pins]
    standing = [Located(pin.name, pin.version, version, "index") for pin, version in zip(pins, versions, strict=True)]
    stand(monkeypatch, tmp_path, standing)
    request = requested(versions[0] if word == "VERSION" else word for word in words)
    assert env_setup._standing("npu", pins, request, Sources()) == (standing if kept else [])


def test_what_stands_gives_way_to_what_the_base_interpreter_now_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = load_stack().profiles["npu"].unlocked_on(this_machine())
    stand(monkeypatch, tmp_path, [Located(pin.name, pin.version, pin.version, "index") for pin in pins])
    info = tmp_path / "base" / "torch_npu-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: torch-npu\nVersion: {pins[0].version}+git1\n", encoding="utf-8")
    monkeypatch.setattr(unlocked_pins, "base_site_packages", lambda: [str(info.parent)])
    assert env_setup._standing("npu", pins, requested([]), Sources()) == []


@pytest.mark.parametrize("text", ["nup:0", "npu:", "npu:x", "cpu0", ""])
def test_a_slip_of_the_pen_is_no_device_and_builds_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--device", text])
    assert refused.value.code == 2
    assert f"no device {text!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], "nox -s verify"),
        (["--run", "r1"], "nox -s verify"),
        (["--run=r1", "--level", "3"], "nox -s verify -- --level 3"),
        (["--model-dir", "my model", "--run", "r1"], "nox -s verify -- --model-dir 'my model'"),
        (["--offline", "--check", "load", "--lang", "zh", "--strict"], "nox -s verify -- --check load"),
        (["--model-dir", "/home/bobby/granite"], "nox -s verify -- --model-dir granite"),
        (["--model-dir=/home/bobby/granite", "--results", "/"], "nox -s verify -- --model-dir=granite --results /"),
        (["--model-dir", f"{ROOT}/model/data/stand-in"], "nox -s verify -- --model-dir model/data/stand-in"),
    ],
)
def test_the_repeating_command_names_no_run_and_nothing_of_other_sessions(words: list[str], command: str) -> None:
    assert repeating("verify", words) == command


def test_a_run_is_an_id_or_a_folder(tmp_path: Path) -> None:
    assert run_folder("results", "20261123T000000Z-abcd") == Path("results/20261123T000000Z-abcd")
    assert run_folder("results", str(tmp_path)) == tmp_path
    assert run_folder("results", "elsewhere/run") == Path("elsewhere/run")
