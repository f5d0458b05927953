"""What people publish of a run holds no name of theirs and no secret: every output of a whole run is searched."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from env import builder
from env.errors import VerificationIncompleteError
from env.stack import ROOT, load_stack
from tests.verify.small_run import STAMP
from verify import __main__ as verify
from verify.report import __main__ as report
from verify.report import compare, references, stacks
from verify.report.export import __main__ as export

USER, SECRET = "marker-user-7f3a", "MARKER7f3a0123456789abcdefABCDEF"
CHECKS = ("machine", "packages", "checkpoint", "device")
# The licences of the environment are read by a library that only the export's own environment has.
FORMATS = [name for name in export.FORMATS if name != "sbom"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with secrets in the variables that people have them in, and a checkpoint in it."""
    folder = tmp_path / "home" / USER
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / load_stack().stand_in, folder / "granite-speech")
    for name, value in {
        "HOME": str(folder),
        "USER": USER,
        "LOGNAME": USER,
        "PIP_INDEX_URL": f"https://{USER}:{SECRET}@git.corp/simple",
        "UV_INDEX": f"https://{SECRET}@git.corp/simple",
        "HF_TOKEN": f"hf_{SECRET}",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "LD_LIBRARY_PATH": f"{folder}/lib",
        "PYTHONPATH": f"{ROOT}:{folder}/python",
        "ASCEND_HOME_PATH": f"{folder}/Ascend",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(builder, "require", lambda profile, venvs=builder.VENVS: (Path(sys.executable), STAMP))
    return folder


@pytest.mark.slow
def test_no_output_of_a_run_names_the_user_or_a_secret(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results, outputs = home / "results", home / "outputs"
    common = ["--model-dir", str(home / "granite-speech"), "--device", "cpu", "--results", str(results)]
    words = [word for check in CHECKS for word in ("--check", check)]
    for _each in range(2):
        verify.main([*common, "--level", "1", *words])
    one, other = sorted(path for path in results.iterdir() if path.is_dir())
    terminal = capfd.readouterr()
    report.main(["--run", str(one)])
    for name in FORMATS:
        with suppress(VerificationIncompleteError):  # what a run on stand-in weights cannot be published as
            export.main(["--run", str(one), "--output", str(outputs), "--format", name])
    compare.main([str(one), str(other), "--output", str(outputs)])
    stacks.main([str(one), str(other)])
    with pytest.raises(Exception, match="can be no reference"):
        references.main(["--run", str(one)])
    written = {
        path.name: path.read_bytes() for folder in (one, outputs) for path in folder.rglob("*") if path.is_file()
    }
    assert {
        "report.html",
        "report.zh.md",
        "evidence.en.md",
        "compare.html",
        "figures.csv",
        "junit.xml",
    } <= written.keys()
    held = [name for name, content in written.items() if USER.encode() in content or SECRET.encode() in content]
    assert held == []
    assert SECRET not in terminal.out + terminal.err + "".join(capfd.readouterr())
