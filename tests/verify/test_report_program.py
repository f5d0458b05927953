"""`python -m verify.report`: which run it renders, where to, with which exit code, and what it needs for that."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from env.errors import RecordError, StorageError
from env.language import LANGUAGES
from tests.verify.report_runs import DATA
from verify.report.__main__ import latest_run, main

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"{document}.{language}.md" for document in ("report", "evidence") for language in LANGUAGES]
NAMES += ["report.html"]


def copied(run: str, folder: Path) -> Path:
    shutil.copytree(DATA / run, folder, ignore=shutil.ignore_patterns("*.md"))
    return folder


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C", "TZ": "Asia/Shanghai", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C.UTF-8", "TZ": "America/New_York", "PYTHONHASHSEED": "2", "PYTHONUTF8": "0"},
        {"LANGUAGE": "zh", "LC_ALL": "zh_CN.UTF-8"},
    ],
)
def test_same_bytes_in_another_folder_locale_time_zone_and_hash_seed(tmp_path: Path, environ: dict[str, str]) -> None:
    run = copied("npu-failed", tmp_path / "another place" / "renamed")
    command = [sys.executable, "-m", "verify.report", "--run", str(run), "--output", str(tmp_path / "out")]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == (DATA / "npu-failed" / name).read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "out" / name).read_bytes()


EXPORTED = ("junit", "github-summary", "csv", "attestation", "model-index", "model-card")


def test_comparisons_and_exports_are_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """The same runs in other folders, in another locale, time zone and order of hashes."""
    program = (
        "import sys\n"
        "from verify.report.compare import main as compare\n"
        "from verify.report.export.__main__ import main\n"
        "first, second, out = sys.argv[1:]\n"
        "compare([first, second, '--output', out])\n"
        f"main(['--run', first, '--output', out, *(part for one in {EXPORTED!r} for part in ('--format', one))])\n"
    )
    outputs = []
    for place, environ in enumerate(
        (
            {"LC_ALL": "C", "TZ": "Asia/Shanghai", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0"},
            {"LC_ALL": "C.UTF-8", "TZ": "America/New_York", "PYTHONHASHSEED": "2", "LANGUAGE": "zh"},
        )
    ):
        base = tmp_path / f"place {place}"
        runs = [copied(run, base / "runs" / run) for run in ("npu-verified", "npu-failed")]
        command = [sys.executable, "-c", program, *map(str, runs), str(base / "out")]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append({path.name: path.read_bytes() for path in sorted((base / "out").rglob("*")) if path.is_file()})
    assert len(outputs[0]) == 4 + len(EXPORTED)
    assert outputs[0] == outputs[1]
    assert not [name for name, text in outputs[0].items() if str(tmp_path).encode() in text]


def test_rendering_needs_no_torch_and_help_no_jinja(tmp_path: Path) -> None:
    program = (
        "import sys; from verify.report.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert 'jinja2' not in sys.modules\n"
        f"main(['--run', {str(DATA / 'cpu-stand-in')!r}, '--output', {str(tmp_path)!r}])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'rich', 'jsonschema'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "ours = {name for name in sys.modules if name.startswith('model.')}\n"
        "assert ours == {'model.gelu', 'model.signature', 'model.size'}, ours"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_newest_run_is_rendered_into_its_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied("npu-failed", tmp_path / "20260801T100000Z-ffff")
    newest = copied("cpu-stand-in", tmp_path / "20260802T100000Z-0000")
    (tmp_path / "20260803T100000Z-0000").mkdir()  # a run that died before it wrote anything
    assert main(["--results", str(tmp_path)]) == 0
    *paths, line = capsys.readouterr().out.splitlines()
    assert paths == [str(newest / name) for name in NAMES]
    assert line.startswith("verified (stand-in weights) · cpu (auto) · ")


def test_a_run_is_named_by_its_id(tmp_path: Path) -> None:
    run = copied("cpu-stand-in", tmp_path / "20260801T100000Z-ffff")
    assert main(["--results", str(tmp_path), "--run", run.name]) == 0
    assert (run / "report.zh.md").exists()


def test_setup_alone_is_a_run(tmp_path: Path) -> None:
    run = copied("setup-failed", tmp_path / "20260801T100000Z-0000")
    assert latest_run(tmp_path) == run


@pytest.mark.parametrize(
    ("run", "exit_code"),
    [("npu-verified", 0), ("npu-failed", 30), ("setup-failed", 30), ("interrupted", 31), ("damaged", 31)],
)
def test_strict_exits_with_the_verdict(run: str, exit_code: int, tmp_path: Path) -> None:
    arguments = ["--run", str(DATA / run), "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert main([*arguments, "--strict"]) == exit_code


@pytest.mark.parametrize("arguments", [["--results", "nowhere"], ["--run", "nowhere"], ["--run", "."]])
def test_no_records_is_an_error_with_a_next_command(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match="no run in") as caught:
        main(arguments)
    assert "nox -s" in caught.value.next


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        main(["--run", str(DATA / "cpu-stand-in"), "--output", str(tmp_path / "file")])


def test_a_full_disk_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "report.zh.md"
    old.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        main(["--run", str(DATA / "cpu-stand-in"), "--output", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["report.zh.md"]
    assert old.read_text() == "old"
