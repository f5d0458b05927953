"""What the user configured reaches both installers in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from env.installer import Installer, Sources, configured
from env.runner import Completed

PIP = Installer("pip", ())
UV = Installer("uv", ("/opt/bin/uv",))


def pip_config(text: str) -> object:
    def answer(args: Sequence[str], *, timeout: float = 0, environ: Mapping[str, str] | None = None) -> Completed:
        assert args[-2:] == ["config", "list"]
        return Completed(tuple(args), 0, text)

    return answer


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
        (Sources(), "download.index-url='https://mirror.example/simple'\n", Sources()),
        (Sources(), "global.find-links='/no/such/folder'\nglobal.extra-index-url='file:///no/such'\n", Sources()),
        (Sources(), "no configuration at all, but a warning = of some kind\n", Sources()),
    ],
)
def test_an_option_beats_the_configuration_and_folders_that_are_not_there_are_left_out(
    given: Sources, config: str, expected: Sources
) -> None:
    assert configured(given, runner=pip_config(config)) == expected  # type: ignore[arg-type]


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    runner = pip_config(f"global.find-links='{tmp_path} file://{tmp_path}'\n")
    assert configured(Sources(), runner=runner).find_links == (str(tmp_path), f"file://{tmp_path}")  # type: ignore[arg-type]


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
