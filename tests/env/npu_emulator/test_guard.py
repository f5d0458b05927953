"""The emulated NPU refuses to start where it could be taken for a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from env.errors import HostError
from env.npu_emulator import __main__ as program
from env.npu_emulator.guard import MARKER, RUNTIME, real_npu
from env.npu_emulator.runtime import open_libraries
from env.stack import ROOT


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, Path]:
    """A machine without devices and with an empty loader cache."""
    (tmp_path / "dev").mkdir()
    return {"devices": tmp_path / "dev", "loader_cache": tmp_path / "ld.so.cache"}


@pytest.fixture
def cann(tmp_path: Path) -> Path:
    """A folder with a runtime library that is not the emulator's."""
    folder = tmp_path / "cann" / "lib64"
    folder.mkdir(parents=True)
    (folder / RUNTIME).write_bytes(b"\x7fELF vendor")
    return folder


def test_a_machine_without_npu_and_cann_is_fine(bare: dict[str, Path]) -> None:
    assert real_npu({}, **bare) is None


@pytest.mark.parametrize("node", ["davinci0", "davinci_manager", "davinci63"])
def test_a_device_node_is_refused(bare: dict[str, Path], node: str) -> None:
    (bare["devices"] / node).touch()
    assert f"{node} is there" in str(real_npu({}, **bare))


@pytest.mark.parametrize("variable", ["LD_LIBRARY_PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"])
def test_a_real_cann_on_the_loader_path_is_refused(bare: dict[str, Path], cann: Path, variable: str) -> None:
    place = f"/nowhere::{cann}" if variable == "LD_LIBRARY_PATH" else str(cann.parent)
    assert "is a real CANN on the loader path" in str(real_npu({variable: place}, **bare))


def test_a_real_cann_in_the_loaders_cache_is_refused(bare: dict[str, Path]) -> None:
    bare["loader_cache"].write_bytes(b"glibc-ld.so.cache1.1\0" + RUNTIME.encode() + b"\0")
    assert "loader's cache" in str(real_npu({}, **bare))


def test_the_emulators_own_library_is_no_cann(bare: dict[str, Path], cann: Path) -> None:
    (cann / RUNTIME).write_bytes(b"\x7fELF " + MARKER)
    assert real_npu({"LD_LIBRARY_PATH": str(cann)}, **bare) is None


def test_every_command_stops_with_the_host_errors_exit_code(cann: Path) -> None:
    for words in (["build"], ["run", "--", "true"]):
        done = subprocess.run(
            [sys.executable, "-m", "env.npu_emulator", *words],
            cwd=ROOT, env={**os.environ, "LD_LIBRARY_PATH": str(cann)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == HostError.exit_code
        assert "the emulated NPU does not start here" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_process_that_inherited_the_emulation_stops_before_it_loads_anything(
    cann: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(cann))
    with pytest.raises(ImportError, match="does not start here"):
        open_libraries()


def test_no_option_switches_the_refusal_off(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("build", "run"):
        with pytest.raises(SystemExit):
            program.main([command, "--help"])
    assert not any(word in capsys.readouterr().out for word in ("--force", "--allow", "--ignore"))
