"""No credential leaves: captures, arguments that nox echoes, reasons of setup."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from env import capture as module
from env.arguments import Parser
from env.capture import capture, folders_of
from env.redaction import apart, redacted, restored
from env.runner import Completed
from env.setup import without_whose
from env.stack import ROOT
from tests.env import machines

MARKER = "MARKER7f3a"
TOKEN = "ghp_" + MARKER + "0123456789abcdefABCDEF"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"pip --index-url https://bob:{MARKER}@git.corp/simple/", "https://left-out@git.corp/simple/"),
        (f"x @ git+https://{MARKER}@git.corp/x.git", "https://left-out@git.corp/x.git"),
        (f"https://host/simple?token={MARKER}&a=1", "https://host/simple?left-out"),
        (f"cloning with {TOKEN}.", "cloning with left-out."),
        (f"X-Secret: {MARKER}", "X-Secret: left-out"),
        (f"--password={MARKER}", "--password=left-out"),
        (f"hf_{MARKER}abcdefgh", "left-out"),
    ],
)
def test_what_looks_like_a_credential_is_left_out(text: str, kept: str) -> None:
    assert MARKER not in redacted(text)
    assert kept in redacted(text)


@pytest.mark.parametrize(
    "text", ["https://host:8080/simple/", "file:///srv/wheels", "torch @ 2.9.0", "user@host", "Version=8.5.0", "a?b"]
)
def test_what_does_not_is_kept(text: str) -> None:
    assert redacted(text) == text


@given(
    st.lists(st.one_of(st.text(max_size=20), st.just(f"https://a:{MARKER}@h/"), st.just(f"--x=https://h/?{MARKER}")))
)
def test_arguments_arrive_whole_and_show_no_credential(arguments: list[str]) -> None:
    shown, variables = apart(arguments)
    assert MARKER not in " ".join(shown)
    assert restored(shown, variables) == arguments


def test_a_program_reads_what_its_variables_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, variables = apart(["--index-url", f"https://bob:{MARKER}@host/simple"])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    parser = Parser()
    parser.add_argument("--index-url")
    monkeypatch.setattr(sys, "argv", ["program", *shown])
    assert parser.parse_args().index_url == f"https://bob:{MARKER}@host/simple"


def test_a_reason_of_setup_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/bobby")
    text = f"see /home/bobby/.cache/pip.log and {ROOT}/x, from https://a:{MARKER}@h/"
    assert without_whose(text) == "see ~/.cache/pip.log and <bundle>/x, from https://left-out@h/"


def test_folders_of_users_and_servers_have_a_stand_in() -> None:
    environ = {
        "LD_LIBRARY_PATH": "/usr/lib:/srv/bobby/x:/srv/bobby:/home/alice/lib:/opt/cann",
        "PYTHONPATH": "/net/n1/lib",
    }
    assert folders_of(environ, "/home/alice") == {
        "/srv/bobby/x": "/left-out/1",
        "/net/n1/lib": "/left-out/2",
        "/srv/bobby": "/left-out/3",
        "/net/n1": "/left-out/4",
    }


def test_no_marker_of_any_place_is_in_a_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A property of the whole archive: wherever a secret may stand on a machine, it is not there."""
    root = tmp_path / "machine"
    machines.build("healthy-910b4", root)
    site = root / machines.SITE.lstrip("/")
    info = site / "requests-2.32.5.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(
        f"Name: requests\nVersion: 2.32.5\nRequires-Dist: x @ git+https://bob:{TOKEN}@git.corp/{MARKER}.git\n"
        f"Requires-Dist: y @ https://10.11.12.13/y.whl?token={MARKER} ; extra == 'z'\n"
        f"Author: {MARKER}\nHome-page: https://{MARKER}/\nX-Secret: {MARKER}\n\n{MARKER}\n",
        encoding="utf-8",
    )
    (info / "WHEEL").write_text(f"X-Secret: {MARKER}\nGenerator: {MARKER}\nTag: py3-none-any\n", encoding="utf-8")
    (info / "RECORD").write_text(f"../../../{MARKER},,\n/abs/{MARKER},,\nrequests/__init__.py,,\n", encoding="utf-8")
    (info / "direct_url.json").write_text(f'{{"url": "https://{MARKER}"}}', encoding="utf-8")
    environ = {
        "HOME": f"/home/{MARKER}",
        "HF_TOKEN": MARKER,
        "PIP_INDEX_URL": f"https://{MARKER}@host/",
        "AWS_SECRET_ACCESS_KEY": MARKER,
        "LD_PRELOAD": f"/srv/{MARKER}/libx.so",
        "LD_LIBRARY_PATH": f"/usr/lib:/net/{MARKER}.corp/lib:/home/{MARKER}/lib",
        "PYTHONPATH": f"/srv/{MARKER}:/srv/{MARKER}/src",
        "ASCEND_HOME_PATH": "/usr/local/Ascend/cann-8.5.1",
    }

    def answers(args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None) -> Completed:
        return Completed(
            tuple(args), 1, f"{MARKER.lower()}\nSerial Number: {MARKER}\n", f"https://{MARKER}@h/ {TOKEN}\n"
        )

    monkeypatch.setattr(module, "_user", lambda: MARKER)
    monkeypatch.setattr("socket.gethostname", lambda: MARKER.lower())
    for line in capture(tmp_path / "out.tar.gz", root=root, runner=answers, environ=environ, sites=[machines.SITE]):
        assert MARKER not in line
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        held = [f"{member.name} {member.linkname} {member.uname}" for member in archive]
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            held.append(file.read().decode() if file else "")
    everything = "\n".join(held)
    assert MARKER not in everything
    assert MARKER.lower() not in everything
    assert "Requires-Dist: y ; extra == 'z'" in everything
    assert "Tag: py3-none-any" in everything
