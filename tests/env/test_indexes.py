"""Which index has which pin: every configured one answers for itself, and no password is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from env.installer import without_credentials
from env.probe.indexes import Listing, ask_indexes, index_versions
from env.runner import Completed
from env.stack import load_stack

CONFIGURED = "global.index-url='https://reader:secret@mirror.example/simple'\n"
CONFIGURED += "global.extra-index-url='https://wheels.example/cpu'\n"


class Pip:
    """pip, as far as it is called here: one index has everything but torch-npu's pin, the other does not answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(
        self, args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None
    ) -> Completed:
        if "config" in args:
            return Completed(tuple(args), 0, CONFIGURED)
        assert environ is not None
        name, url = args[5], args[-1]
        assert environ["PIP_EXTRA_INDEX_URL"] == url
        self.calls.append((name, url))
        if "wheels" in url:
            return Completed(tuple(args), 1, stderr="WARNING: retrying\nERROR: Could not connect\n")
        if name == "torch-npu":
            return Completed(tuple(args), 0, "Available versions: 2.9.0.post9, 2.9.0.post2, 2.9.0\n")
        if name == "transformers":
            return Completed(tuple(args), 1, stderr="ERROR: No matching distribution found for transformers\n")
        pin = load_stack().packages[name]
        return Completed(tuple(args), 0, f"{name} ({pin})\nAvailable versions: 99.0, {pin}+cpu, {pin}\n")


def test_every_index_answers_for_itself() -> None:
    pip = Pip()
    answers = ask_indexes(load_stack(), runner=pip, environ={})
    assert {url for _, url in pip.calls} == {
        "https://reader:secret@mirror.example/simple",
        "https://wheels.example/cpu",
    }
    mirror = {each.name: each for each in answers if each.index == "https://mirror.example/simple"}
    assert mirror["torch"].found is True
    assert (mirror["torch-npu"].found, mirror["torch-npu"].versions[0]) == (False, "2.9.0.post9")
    assert (mirror["transformers"].found, mirror["transformers"].error) == (False, None)
    silent = [each for each in answers if each.index == "https://wheels.example/cpu"]
    assert {(each.found, each.error) for each in silent} == {(None, "ERROR: Could not connect")}


def test_a_range_is_not_a_pin() -> None:
    pip = Pip()
    ask_indexes(load_stack(), runner=pip, environ={})
    assert "numpy" not in {name for name, _ in pip.calls}


def test_credentials_are_not_shown() -> None:
    assert without_credentials("https://a:b@host.example:8443/simple?token=1") == "https://host.example:8443/simple"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Completed((), 0, "torch (2.9.0)\nAvailable versions: 2.9.0, 2.8.0\n"), Listing(("2.9.0", "2.8.0"))),
        (Completed((), 1, stderr="ERROR: No matching distribution found for torch\n"), Listing()),
        (Completed((), 1, stderr="WARNING: retrying\nERROR: no answer\n"), Listing(error="ERROR: no answer")),
        (Completed((), 1, stderr="python: No module named pip\n"), Listing(error="python: No module named pip")),
        (Completed((), 3), Listing(error="exit status 3")),
    ],
)
def test_a_listing_tells_none_from_no_answer(answer: Completed, expected: Listing) -> None:
    def pip(args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None) -> Completed:
        assert args[-2:] == ["--index-url", "https://mirror.example/simple"]
        return answer

    assert index_versions("torch", ["--index-url", "https://mirror.example/simple"], runner=pip) == expected
