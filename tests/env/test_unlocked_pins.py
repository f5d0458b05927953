"""Pins that no index has: where they are looked for, in which order, and what is said when they are nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.utils import parse_wheel_filename

from env.errors import InstallError, ResolutionError, WheelhouseError
from env.installer import Sources
from env.options import NEAREST
from env.runner import Completed
from env.stack import UnlockedPin, load_stack
from env.unlocked_pins import Located, _ways_out, installed, locate, nearest, same_release
from tests.env.wheels import make_wheel

PIN = UnlockedPin("torch-npu", "2.9.0.post1", ("aarch64",), "not on the public index")
TAG = "cp310-cp310-manylinux_2_28_aarch64"
# What `pip index versions torch-npu` printed on 2026-11-23.
LISTING = "torch-npu (2.12.0)\nAvailable versions: 2.12.0, 2.10.0, 2.9.0.post9, 2.9.0.post2, 2.9.0, 2.9.0rc1, 2.8.0\n"


def index(listing: str) -> object:
    def answer(args: Sequence[str], *, timeout: float = 0, environ: Mapping[str, str] | None = None) -> Completed:
        assert args[1:5] == ["-m", "pip", "index", "versions"]
        return Completed(tuple(args), 0 if listing else 1, listing)

    return answer


def find(
    tmp_path: Path,
    *,
    listing: str = LISTING,
    pin: UnlockedPin = PIN,
    substitute: str | None = None,
    base: Sequence[str] = (),
) -> Located:
    (found,) = locate(
        [pin],
        Sources(find_links=(str(tmp_path),)),
        python="3.10",
        machine="aarch64",
        substitute=substitute,
        explain=lambda version: {"2.9.0": "(CANN 8.5.0)", "2.9.0.post2": "(CANN 9.0.0)"}.get(version, ""),
        runner=index(listing),  # type: ignore[arg-type]
        base=base,
    )
    return found


@pytest.mark.parametrize(
    ("asked", "found", "fits"),
    [
        ("2.9.0.post1", "2.9.0.post1+gitee7ba04", True),
        ("2.9.0.post1", "2.9.0.post1", True),
        ("2.9.0.post1", "2.9.0.post2", False),
        ("2.9.0.post1", "2.9.0", False),
        ("2.9.0+cpu", "2.9.0+cpu", True),
        ("2.9.0+cpu", "2.9.0", False),
        ("2.9.0+cpu", "2.9.0+cu128", False),
    ],
)
def test_public_versions_are_compared_and_a_local_part_only_where_the_pin_has_one(
    asked: str, found: str, fits: bool
) -> None:
    assert same_release(asked, found) is fits


def test_post1_pin_explains_itself_when_the_index_lacks_it(tmp_path: Path) -> None:
    with pytest.raises(ResolutionError) as stopped:
        find(tmp_path)
    assert stopped.value.exit_code == 12
    assert str(stopped.value) == (
        "no configured source has torch-npu 2.9.0.post1 (not on the public index)\n"
        "    published instead: 2.9.0 (CANN 8.5.0), 2.9.0.post2 (CANN 9.0.0), 2.9.0.post9\n"
        "  why:  looked in the base interpreter's site-packages, the --find-links folders and the configured index\n"
        "  next: one of\n"
        "    nox -s setup -- --device npu:0 --find-links FOLDER_WITH_THE_WHEELS\n"
        "    nox -s setup -- --device npu:0 --allow-substitute VERSION   (the record and the documents then say so)"
    )


def test_the_way_to_a_published_wheel_is_the_one_for_this_python_and_machine() -> None:
    pin = next(pin for pin in load_stack().profiles["npu"].unlocked if pin.name == "torch-npu")
    for python, machine in [("3.10", "aarch64"), ("3.11", "x86_64")]:
        url = pin.wheel_for(python, machine)
        shown = _ways_out([pin], python, machine)
        assert url is not None
        assert url in shown
        assert len(re.findall("https://", shown)) == 1
        assert "run inside an image that has it: vllm-ascend:v0.18.0" in shown
    assert "https://" not in _ways_out([pin], "3.12", "aarch64")


def test_every_published_wheel_of_the_stack_is_its_pin_for_the_python_and_machine_that_it_says() -> None:
    for pin in load_stack().profiles["npu"].unlocked:
        for wheel in pin.wheels:
            name, version, _build, tags = parse_wheel_filename(unquote(wheel.url.rpartition("/")[2]))
            assert (name, same_release(pin.version, str(version))) == (pin.name, True)
            interpreter = "cp" + wheel.python.replace(".", "")
            assert {(tag.interpreter, tag.platform.endswith(wheel.machine)) for tag in tags} == {(interpreter, True)}


def test_a_wheel_saved_with_its_address_s_spelling_is_told_how_to_be_renamed(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "torch-npu", "2.9.0.post1+git4c901a4", tag=TAG)
    saved = wheel.rename(wheel.with_name(wheel.name.replace("+", "%2B")))
    with pytest.raises(WheelhouseError) as stopped:
        find(tmp_path)
    assert "under a name that pip refuses" in stopped.value.what
    assert stopped.value.next == f"mv {saved} {wheel}"


def test_an_index_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResolutionError, match="no index answered with any version of it"):
        find(tmp_path, listing="")


def test_the_base_interpreter_comes_before_a_folder_and_a_folder_before_the_index(tmp_path: Path) -> None:
    listing = LISTING.replace("2.9.0.post2", "2.9.0.post2, 2.9.0.post1")
    assert find(tmp_path, listing=listing).source == "index"
    wheel = make_wheel(tmp_path, "torch-npu", "2.9.0.post1+git4c901a4", tag=TAG)
    assert find(tmp_path, listing=listing).place == str(wheel)
    base = tmp_path / "base"
    info = base / "torch_npu-2.9.0.post1+gitee7ba04.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: torch-npu\nVersion: 2.9.0.post1+gitee7ba04\n", encoding="utf-8")
    found = find(tmp_path, listing=listing, base=[str(base)])
    assert (found.source, found.version, found.substituted) == ("base interpreter", "2.9.0.post1+gitee7ba04", False)


@pytest.mark.parametrize("metadata", ["", "Name: torch-npu\n", "Name: torch-npu\nVersion: 2.9.0-dev-git4c901a4\n"])
def test_a_preinstalled_one_without_a_readable_version_is_passed_over(tmp_path: Path, metadata: str) -> None:
    make_wheel(tmp_path, "torch-npu", "2.9.0.post1", tag=TAG)
    info = tmp_path / "base" / "torch_npu-2.9.0.post1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    assert find(tmp_path, base=[str(info.parent)]).source == "wheel"


def test_a_python_without_pip_is_said_where_an_index_would_be_asked(tmp_path: Path) -> None:
    def no_pip(args: Sequence[str], **_: object) -> Completed:
        return Completed(tuple(args), 1, stderr=f"{args[0]}: No module named pip\n")

    with pytest.raises(InstallError, match="has no pip") as stopped:
        locate([PIN], Sources(), python="3.10", machine="aarch64", runner=no_pip, base=[])
    assert stopped.value.next == "python -m ensurepip"


@pytest.mark.parametrize("tag", ["cp311-cp311-manylinux_2_28_aarch64", "cp310-cp310-manylinux_2_28_x86_64"])
def test_a_wheel_of_another_python_or_machine_does_not_fit(tmp_path: Path, tag: str) -> None:
    make_wheel(tmp_path, "torch-npu", "2.9.0.post1", tag=tag)
    with pytest.raises(ResolutionError):
        find(tmp_path)


def test_a_renamed_wheel_is_refused_by_name(tmp_path: Path) -> None:
    make_wheel(tmp_path, "torch-npu", "2.9.0.post1", tag=TAG, metadata_version="2.9.0.post2")
    with pytest.raises(WheelhouseError, match=r"torch_npu-2\.9\.0\.post1-.*whl holds torch-npu 2\.9\.0\.post2"):
        find(tmp_path)


def test_a_truncated_wheel_is_refused_by_name(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "torch-npu", "2.9.0.post1", tag=TAG)
    wheel.write_bytes(wheel.read_bytes()[:-40])
    with pytest.raises(WheelhouseError, match="is not a readable wheel"):
        find(tmp_path)


@pytest.mark.parametrize(("substitute", "version"), [(NEAREST, "2.9.0"), ("2.9.0.post2", "2.9.0.post2")])
def test_a_substitute_is_taken_only_when_allowed_and_is_marked(tmp_path: Path, substitute: str, version: str) -> None:
    found = find(tmp_path, substitute=substitute)
    assert (found.pinned, found.version, found.substituted) == ("2.9.0.post1", version, True)
    assert installed(found).substituted


def test_a_substitute_is_not_taken_where_the_pin_is_to_be_had(tmp_path: Path) -> None:
    make_wheel(tmp_path, "torch-npu", "2.9.0.post1", tag=TAG)
    assert not find(tmp_path, substitute="2.9.0.post2").substituted


def test_every_missing_pin_is_named_and_x86_64_is_told_of_the_cpu_builds(tmp_path: Path) -> None:
    pins = [PIN, UnlockedPin("torch", "2.9.0+cpu", ("x86_64",), "torch-npu asks for it")]
    with pytest.raises(ResolutionError) as stopped:
        locate(pins, Sources(), python="3.10", machine="x86_64", runner=index(""), base=[])  # type: ignore[arg-type]
    assert "torch-npu 2.9.0.post1" in str(stopped.value)
    assert "torch 2.9.0+cpu (torch-npu asks for it)" in str(stopped.value)
    assert "--extra-index-url" in str(stopped.value)


def test_an_offline_search_asks_no_index(tmp_path: Path) -> None:
    def no_index(args: Sequence[str], **_: object) -> Completed:
        raise AssertionError(f"asked: {args}")

    with pytest.raises(ResolutionError):
        locate([PIN], Sources(offline=True), python="3.10", machine="aarch64", runner=no_index, base=[])


def test_nearest_keeps_the_same_base_version_and_drops_what_is_no_release() -> None:
    assert nearest("2.9.0.post1", ["2.10.0", "2.9.0.post9", "2.9.0", "2.9.0rc1", "not a version"]) == [
        "2.9.0",
        "2.9.0.post9",
    ]
