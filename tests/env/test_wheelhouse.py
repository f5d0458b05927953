"""Wheelhouses: collected for any platform, held to the locks byte for byte, and set up from with the network off."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path

import pytest

from env.__main__ import main
from env.errors import InstallError, StorageError, UsageError, WheelhouseError
from env.installer import Sources, configured
from env.lock import locked
from env.runner import Completed, Runner
from env.stack import MACHINES, load_stack, this_python
from env.wheelhouse import Manifest, Target, read_manifest, verify
from env.wheelhouse.collect import GIVE_UP, collect, licence
from tests.env.wheels import flip_a_byte, lock_line, make_wheel

TARGET = Target("npu", "aarch64", "3.10")
NATIVE = "cp310-cp310-manylinux_2_17_aarch64.manylinux2014_aarch64"
POST1 = load_stack().packages["torch-npu"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with one plain wheel, one of the target's platform, and strangers of the same name."""
    folder = tmp_path / "index"
    make_wheel(folder, "demo-core", "1.0")
    make_wheel(folder, "demo-native", "2.1", tag=NATIVE)
    make_wheel(folder, "demo-native", "2.1", tag="cp311-cp311-manylinux_2_17_aarch64", code="# for 3.11\n")
    make_wheel(folder, "demo-native", "2.1", tag="cp310-cp310-manylinux_2_17_x86_64", code="# for x86_64\n")
    return folder


@pytest.fixture
def lock(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of what the index has, in place of the target's own; one pin is for another Python."""
    path = tmp_path / "npu.txt"
    hashes = [lock_line(wheel).split("--hash")[1].strip() for wheel in sorted(index.glob("demo_native*"))]
    native = " \\\n    ".join(["demo-native==2.1", *(f"--hash{one}" for one in hashes)])
    core = lock_line(index / "demo_core-1.0-py3-none-any.whl")
    marked = "demo-old==0.1 ; python_full_version >= '3.11' \\\n    --hash=sha256:00\n"
    path.write_text(f"# made by hand\n{core}{native}\n{marked}", encoding="utf-8")
    monkeypatch.setattr(Target, "locks", property(lambda self: [path]))
    return path


def served_by(index: Path, asked: list[str]) -> Runner:
    """A pip that takes from `index` the wheel that is asked for and fits."""

    def answer(args: Sequence[str], *, timeout: float = 0, environ: Mapping[str, str] | None = None) -> Completed:
        words = list(args)
        assert words[1:4] == ["-m", "pip", "download"]
        assert words[words.index("--python-version") + 1] == "3.10"
        assert "manylinux_2_28_aarch64" in words
        wanted = words[-1]
        if "--requirement" in words:
            text = Path(words[words.index("--requirement") + 1]).read_text(encoding="utf-8")
            assert "--require-hashes" in words
            assert "--hash=sha256:" in text
            wanted = text.split()[0]
        asked.append(wanted)
        name, _, version = wanted.partition("==")
        for wheel in index.glob(f"{name.replace('-', '_')}-{version}*.whl"):
            if "none-any" in wheel.name or ("cp310" in wheel.name and "aarch64" in wheel.name):
                shutil.copy(wheel, words[words.index("--dest") + 1])
                return Completed(tuple(args), 0)
        return Completed(tuple(args), 1, stderr=f"WARNING: x\nERROR: No matching distribution found for {wanted}\n")

    return answer


def filled(folder: Path, index: Path) -> Manifest:
    return collect(TARGET, folder, Sources(), served_by(index, []))


def refusal(folder: Path, target: Target = TARGET) -> str:
    with pytest.raises(WheelhouseError) as refused:
        verify(folder, target)
    assert refused.value.exit_code == 16
    return str(refused.value)


def test_a_target_takes_its_own_wheels_and_no_others() -> None:
    names = {str(tag) for tag in TARGET.tags}
    assert {"cp310-cp310-manylinux_2_28_aarch64", "cp310-abi3-manylinux2014_aarch64", "py3-none-any"} <= names
    assert {"cp37-abi3-manylinux_2_17_aarch64", "py2.py3-none-any", "cp310-cp310-linux_aarch64"} & names == {
        "cp37-abi3-manylinux_2_17_aarch64",
        "cp310-cp310-linux_aarch64",
    }
    assert not any("x86_64" in name or "cp311" in name or "manylinux_2_29" in name for name in names)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", ["host", "npu", "dev", "tools"])
def test_every_declared_target_has_locks_and_pins_with_hashes(profile: str, machine: str) -> None:
    for python in load_stack().pythons:
        target = Target(profile, machine, python)
        assert [path.exists() for path in target.locks] == [True] * len(target.locks)
        pins = target.pins
        assert {"nox", "rich", "packaging"} <= {pin.name for pin in pins}
        assert all(len(one) == 64 for pin in pins for one in pin.hashes)
        assert all(pin.hashes for pin in pins)
        assert ("torch" in {pin.name for pin in pins}) is (
            profile not in ("tools",) and (profile, machine) != ("npu", "x86_64")
        )


def test_a_lock_is_read_for_the_target_and_not_for_this_interpreter(lock: Path) -> None:
    names = [pin.name for pin in locked(lock, TARGET.environment)]
    assert names == ["demo-core", "demo-native"]
    newer = Target("npu", "aarch64", "3.11")
    assert [pin.name for pin in locked(lock, newer.environment)] == [*names, "demo-old"]


def test_collecting_lists_every_wheel_and_what_is_to_be_added_by_hand(
    tmp_path: Path, index: Path, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "wheelhouse"
    manifest = filled(folder, index)
    assert [(entry.file, entry.lock) for entry in manifest.files] == [
        ("demo_core-1.0-py3-none-any.whl", "npu.txt"),
        (f"demo_native-2.1-{NATIVE}.whl", "npu.txt"),
    ]
    assert [(entry.name, entry.version) for entry in manifest.missing] == [("torch-npu", POST1)]
    assert manifest.bytes == sum(path.stat().st_size for path in folder.glob("*.whl"))
    assert read_manifest(folder) == manifest
    verify(folder, TARGET)
    assert "npu, aarch64, Python 3.10: 2 wheels, 0 of them already in" in capsys.readouterr().out


def test_collecting_again_fetches_only_what_is_missing_or_damaged(tmp_path: Path, index: Path, lock: Path) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    asked: list[str] = []
    collect(TARGET, folder, Sources(), served_by(index, asked))
    assert asked == [f"torch-npu=={POST1}"]
    flip_a_byte(folder / "demo_core-1.0-py3-none-any.whl")
    asked.clear()
    collect(TARGET, folder, Sources(), served_by(index, asked))
    assert asked == ["demo-core==1.0", f"torch-npu=={POST1}"]
    verify(folder, TARGET)


def test_wheels_that_cannot_be_had_are_all_named_and_the_rest_is_kept(tmp_path: Path, index: Path, lock: Path) -> None:
    for wheel in index.glob("demo_native*"):
        wheel.unlink()
    folder = tmp_path / "wheelhouse"
    with pytest.raises(WheelhouseError) as refused:
        filled(folder, index)
    assert str(refused.value) == (
        "1 of 2 wheels could not be had:\n"
        "  - demo-native 2.1: No matching distribution found for demo-native==2.1\n"
        f"  next: nox -s wheelhouse -- --profile npu --arch aarch64 --python 3.10 --wheelhouse {folder}"
        "   (what was fetched is kept)"
    )
    assert [path.name for path in folder.iterdir()] == ["demo_core-1.0-py3-none-any.whl"]


def test_a_network_that_is_gone_is_not_asked_for_every_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.txt"
    path.write_text("".join(f"demo-{n}==1.0 --hash=sha256:00\n" for n in range(100)), encoding="utf-8")
    monkeypatch.setattr(Target, "locks", property(lambda self: [path]))
    asked: list[str] = []
    with pytest.raises(WheelhouseError, match="100 of 100 wheels could not be had"):
        collect(TARGET, tmp_path / "wheelhouse", Sources(), served_by(tmp_path, asked))
    assert GIVE_UP <= len(asked) < 100


@pytest.mark.parametrize(
    ("said", "error"),
    [("OSError: [Errno 28] No space left on device", StorageError), ("python: No module named pip", InstallError)],
)
def test_a_full_disk_and_a_python_without_pip_are_said_as_such(
    tmp_path: Path, lock: Path, said: str, error: type[Exception]
) -> None:
    def broken(args: Sequence[str], *, timeout: float = 0, environ: Mapping[str, str] | None = None) -> Completed:
        return Completed(tuple(args), 1, stderr=said)

    with pytest.raises(error):
        collect(TARGET, tmp_path / "wheelhouse", Sources(), broken)


def test_every_missing_and_damaged_file_is_named(tmp_path: Path, index: Path, lock: Path) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    flip_a_byte(folder / "demo_core-1.0-py3-none-any.whl")
    (folder / f"demo_native-2.1-{NATIVE}.whl").unlink()
    text = refusal(folder)
    assert "damaged: demo_core-1.0-py3-none-any.whl (sha256 " in text
    assert f"missing: demo_native-2.1-{NATIVE}.whl" in text
    assert f"next: nox -s wheelhouse -- --profile npu --arch aarch64 --python 3.10 --wheelhouse {folder}" in text
    (folder / "manifest.json").unlink()
    assert "missing: a wheel of demo-native 2.1" in refusal(folder)


def test_any_flipped_byte_is_noticed(tmp_path: Path, index: Path, lock: Path) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    wheel = folder / "demo_core-1.0-py3-none-any.whl"
    whole = wheel.read_bytes()
    for place in range(0, len(whole), 37):
        flip_a_byte(wheel, place)
        assert f"damaged: {wheel.name}" in refusal(folder)
        wheel.write_bytes(whole)
    verify(folder, TARGET)


def test_many_problems_are_counted_after_the_first_twenty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.txt"
    path.write_text("".join(f"demo-{n}==1.0 --hash=sha256:00\n" for n in range(30)), encoding="utf-8")
    monkeypatch.setattr(Target, "locks", property(lambda self: [path]))
    (tmp_path / "wheelhouse").mkdir()
    text = refusal(tmp_path / "wheelhouse")
    assert text.count("missing: a wheel of demo-") == 20
    assert "- ... and 10 more" in text


def test_a_wheelhouse_for_something_else_says_for_what(tmp_path: Path, index: Path, lock: Path) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    text = refusal(folder, Target("npu", "x86_64", "3.11"))
    assert text.startswith(f"{folder} was made for npu, aarch64, Python 3.10; this is npu, x86_64, Python 3.11\n")
    assert "--profile npu --arch x86_64 --python 3.11" in text


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 1, "profile": "npu"}', "\0"])
def test_a_damaged_manifest_is_named(tmp_path: Path, index: Path, lock: Path, text: str) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    assert "manifest.json is damaged" in refusal(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"there is no wheelhouse {tmp_path / 'absent'}" in refusal(tmp_path / "absent")


# --- torch-npu, dropped in by hand -------------------------------------------------------------------------------

FITTING = "cp310-cp310-manylinux_2_28_aarch64"


@pytest.mark.parametrize("suffix", ["", "+git4c901a4", "+gitee7ba04"])
@pytest.mark.parametrize("tag", [FITTING, "cp310-cp310-linux_aarch64"])
def test_a_dropped_in_wheel_is_accepted_whatever_its_suffix(
    tmp_path: Path, index: Path, lock: Path, suffix: str, tag: str
) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    wheel = make_wheel(folder, "torch-npu", f"{POST1}{suffix}", tag=tag)
    verify(folder, TARGET)
    manifest = collect(TARGET, folder, Sources(), served_by(index, []))
    entry = next(entry for entry in manifest.files if entry.name == "torch-npu")
    assert (entry.file, entry.version, entry.lock, manifest.missing) == (wheel.name, f"{POST1}{suffix}", "apart", ())


def test_a_wheel_listed_apart_is_held_to_the_manifest(tmp_path: Path, index: Path, lock: Path) -> None:
    folder = tmp_path / "wheelhouse"
    wheel = make_wheel(folder, "torch-npu", f"{POST1}+git4c901a4", tag=FITTING)
    filled(folder, index)
    make_wheel(folder, "torch-npu", f"{POST1}+git4c901a4", tag=FITTING, code="# another build\n")
    assert f"damaged: {wheel.name} (its sha256 is not the manifest's)" in refusal(folder)
    wheel.unlink()
    assert f"missing: {wheel.name}" in refusal(folder)


@pytest.mark.parametrize(
    ("version", "tag", "words"),
    [
        (POST1, "cp311-cp311-manylinux_2_28_aarch64", f"needed: torch-npu {POST1}, cp310, aarch64"),
        (POST1, "cp310-cp310-manylinux_2_28_x86_64", f"needed: torch-npu {POST1}, cp310, aarch64"),
        ("2.1.0", FITTING, f"needed: torch-npu {POST1}, cp310, aarch64"),
    ],
)
def test_a_dropped_in_wheel_that_does_not_fit_is_named(
    tmp_path: Path, index: Path, lock: Path, version: str, tag: str, words: str
) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    wheel = make_wheel(folder, "torch-npu", version, tag=tag)
    text = refusal(folder)
    assert f"does not fit: {wheel.name}" in text
    assert words in text


def test_a_dropped_in_wheel_of_another_machine_is_refused_though_renamed(
    tmp_path: Path, index: Path, lock: Path
) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    foreign = make_wheel(tmp_path, "torch-npu", POST1, tag="cp310-cp310-manylinux_2_28_x86_64")
    foreign.rename(folder / foreign.name.replace("x86_64", "aarch64"))
    assert "holds a wheel for another machine (the file was renamed)" in refusal(folder)


def test_a_dropped_in_wheel_that_is_cut_short_is_refused(tmp_path: Path, index: Path, lock: Path) -> None:
    folder = tmp_path / "wheelhouse"
    filled(folder, index)
    wheel = make_wheel(folder, "torch-npu", POST1, tag=FITTING)
    wheel.write_bytes(wheel.read_bytes()[:-100])
    assert f"damaged: {wheel.name} is not a readable wheel" in refusal(folder)


# --- licences, the program, and setup ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("License-Expression", "Apache-2.0 OR BSD-2-Clause"), ("License", "x")], "Apache-2.0 OR BSD-2-Clause"),
        ([("License", "MIT")], "MIT"),
        ([("License", "UNKNOWN"), ("Classifier", "License :: OSI Approved :: MIT License")], "MIT License"),
        (
            [("License", "Copyright (c) " + "x" * 900), ("Classifier", "License :: OSI Approved :: BSD License")],
            "BSD License",
        ),
        ([("License", "Permission is granted\nto all" + "x" * 900)], "Permission is granted"),
        (
            [("Classifier", "License :: A"), ("Classifier", "Topic :: B"), ("Classifier", "License :: C :: D")],
            "A, D",
        ),
        ([], None),
    ],
)
def test_licence_is_read_in_all_the_places_wheels_state_it(
    headers: list[tuple[str, str]], expected: str | None
) -> None:
    message = Message()
    for name, value in headers:
        message[name] = value
    assert licence(message) == expected


def test_program_says_what_was_collected_and_what_to_do_with_it(
    tmp_path: Path,
    index: Path,
    lock: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the real pip, which picks the wheel for a platform that does not run here."""
    base = str(Path(sys.base_prefix, "bin", f"python{this_python()}"))  # uv's environments have no pip
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this Python has no pip")
    monkeypatch.setattr(sys, "executable", base)
    folder = tmp_path / "wheelhouse"
    words = ["--profile", "npu", "--arch", "aarch64", "--python", "3.10", "--wheelhouse", str(folder)]
    assert main(["wheelhouse", *words, "--index-url", index.as_uri(), "--find-links", str(index)]) == 0
    out = capsys.readouterr().out
    assert f"{folder}: 2 wheels, 0 MB, listed in manifest.json" in out
    assert f"to be added by hand: torch-npu {POST1} for npu, aarch64, Python 3.10" in out
    verify(folder, TARGET)


def test_offline_needs_a_folder_and_asks_no_remote_one() -> None:
    with pytest.raises(UsageError, match="--offline needs a folder of wheels"):
        main(["setup", "--profile", "tools", "--offline"])
    given = Sources(find_links=("https://wheels.example/all", "file:///no/such"), offline=True)
    assert configured(given, environ={}).find_links == ()
