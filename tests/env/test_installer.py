"""What the user configured reaches both installers in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from env import installer
from env.installer import Installer, Pip, Sources, Uv, choose
from env.installer import configured as read_configuration
from env.runner import Completed, Runner

PIP = Pip()
UV = Uv(("/opt/bin/uv",))


def pip_config(text: str) -> Runner:
    def answer(args: Sequence[str], *, timeout: float = 0, environ: Mapping[str, str] | None = None) -> Completed:
        assert args[-2:] == ["config", "list"]
        return Completed(tuple(args), 0, text)

    return answer


def configured(config: str, given: Sources | None = None) -> Sources:
    """The sources alone; what is said of the network is tested apart."""
    return replace(read_configuration(given or Sources(), runner=pip_config(config), environ={}), network={})


@pytest.mark.parametrize(
    ("given", "config", "expected"),
    [
        (Sources(), "", Sources()),
        (Sources(), "global.index-url='https://mirror.example/simple'\n", Sources("https://mirror.example/simple")),
        (
            Sources("https://option.example/simple"),
            "global.index-url='https://mirror.example/simple'\n",
            Sources("https://option.example/simple"),
        ),
        (
            Sources(extra_index_urls=("https://one.example",)),
            "global.extra-index-url='https://two.example https://one.example'\nglobal.timeout='60'\n",
            Sources(extra_index_urls=("https://one.example", "https://two.example")),
        ),
        (
            Sources(),
            ":env:.extra-index-url='\\nhttps://two.example\\nhttps://three.example'\n",
            Sources(extra_index_urls=("https://two.example", "https://three.example")),
        ),
        (  # as pip lists them: by name, variables first
            Sources(),
            ":env:.index-url='https://variable.example/simple'\nglobal.index-url='https://mirror.example/simple'\n"
            "install.index-url='https://install.example/simple'\n",
            Sources("https://variable.example/simple"),
        ),
        (Sources(), "download.index-url='https://mirror.example/simple'\n", Sources()),
        (Sources(), "global.find-links='/no/such/folder'\nglobal.extra-index-url='file:///no/such'\n", Sources()),
        (Sources(), "no configuration at all, but a warning = of some kind\n", Sources()),
    ],
)
def test_an_option_beats_the_configuration_and_folders_that_are_not_there_are_left_out(
    given: Sources, config: str, expected: Sources
) -> None:
    assert configured(config, given) == expected


UV_VARIABLES = {
    "UV_INDEX_URL": "https://older.example/simple",
    "UV_DEFAULT_INDEX": "https://uv.example/simple",
    "UV_INDEX": "vendor=https://one.example https://two.example",
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", Sources("https://uv.example/simple", ("https://one.example", "https://two.example"))),
        (
            "global.index-url='https://pip.example/simple'\n",
            Sources("https://pip.example/simple", ("https://one.example", "https://two.example")),
        ),
    ],
)
def test_uvs_variables_say_what_pip_does_not(config: str, expected: Sources) -> None:
    found = read_configuration(Sources(), runner=pip_config(config), environ=UV_VARIABLES)
    assert replace(found, network={}) == expected


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    found = configured(f"global.find-links='{tmp_path} file://{tmp_path}'\n")
    assert found.find_links == (str(tmp_path), f"file://{tmp_path}")


def test_certificates_proxy_and_time_out_of_pip_reach_uv_too() -> None:
    config = "global.cert='/etc/ssl/ours.pem'\nglobal.proxy='http://proxy.example:3128'\n:env:.default-timeout='180'\n"
    assert dict(read_configuration(Sources(), runner=pip_config(config)).network) == {
        "SSL_CERT_FILE": "/etc/ssl/ours.pem",
        "ALL_PROXY": "http://proxy.example:3128",
        "UV_HTTP_TIMEOUT": "180",
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
    }


SOURCES = Sources("https://i.example", ("https://e.example",), ("/wheels",))
WORDS = ["--index-url", "https://i.example", "--extra-index-url", "https://e.example", "--find-links", "/wheels"]


@pytest.mark.parametrize("installer", [UV, PIP], ids=lambda one: one.name)
def test_both_installers_get_the_same_sources_and_never_build_from_source(installer: Installer) -> None:
    command = installer.install_command(Path("/venv/bin/python"), ["--require-hashes", "-r", "lock.txt"], SOURCES)
    assert command[-len(WORDS) - 3 :] == [*WORDS, "--require-hashes", "-r", "lock.txt"]
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert "/venv/bin/python" in command


@pytest.mark.parametrize("installer", [UV, PIP], ids=lambda one: one.name)
def test_offline_names_no_index(installer: Installer) -> None:
    offline = Sources("https://i.example", ("https://e.example",), ("/wheels",), offline=True)
    command = installer.install_command(Path("python"), [], offline)
    assert "--no-index" in command
    assert not any("example" in word for word in command)


def test_uv_looks_at_every_index_as_pip_does() -> None:
    command = UV.install_command(Path("python"), [], Sources())
    assert command[command.index("--index-strategy") + 1] == "unsafe-best-match"


@pytest.mark.parametrize(("code", "chosen"), [(0, "uv"), (126, "pip"), (-6, "pip")])
def test_a_uv_that_does_not_run_leaves_the_work_to_pip(monkeypatch: pytest.MonkeyPatch, code: int, chosen: str) -> None:
    monkeypatch.setattr(installer, "find_uv", lambda: "/opt/bin/uv")

    def answer(args: Sequence[str], *, timeout: float = 0, environ: Mapping[str, str] | None = None) -> Completed:
        return Completed(tuple(args), code)

    assert choose(runner=answer).name == chosen
    if code:
        with pytest.raises(LookupError, match="uv"):
            choose("uv", runner=answer)
