"""Which folder a checkpoint's name means: here first, then in the project, then beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from env.errors import CheckpointError
from model import location
from model.location import resolve_model_dir
from verify import programs
from verify.reference import __main__ as reference

NAME = "granite-speech-4.1-2b"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in tmp_path/project, called from tmp_path/elsewhere."""
    folder = tmp_path / "project"
    for path in (folder, tmp_path / "elsewhere"):
        path.mkdir()
    monkeypatch.setattr(location, "ROOT", folder)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (("project/m", "m", "elsewhere/m"), "elsewhere/m"),
        (("project/m", "m"), "project/m"),
        (("m",), "m"),
        ((), "elsewhere/m"),  # nowhere: said to be missing where it was looked for first
    ],
)
def test_a_name_is_looked_for_here_in_the_project_and_beside_it(
    project: Path, tmp_path: Path, there: tuple[str, ...], found: str
) -> None:
    for folder in there:
        (tmp_path / folder).mkdir()
    assert resolve_model_dir("m") == str(tmp_path / found)


def test_reference_values_are_made_of_the_same_checkpoint(project: Path) -> None:
    (project.parent / NAME).mkdir()
    with pytest.raises(CheckpointError, match=str(project.parent / NAME)):  # it is empty
        reference.main(["--model-dir", NAME, "--output", "values.safetensors"])


def test_a_stand_ins_name_is_no_folder(project: Path) -> None:
    (project / "synthetic:tiny").mkdir()
    assert resolve_model_dir("synthetic:tiny") == "synthetic:tiny"


def test_the_programs_and_verify_find_the_same_checkpoint(project: Path) -> None:
    (project.parent / NAME).mkdir()
    asked: argparse.Namespace = programs.parser("inference.py", "").parse_args([])
    assert programs.verification(asked).model_dir == resolve_model_dir(None) == str(project.parent / NAME)
