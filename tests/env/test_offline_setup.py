"""Setup from a wheelhouse in a network namespace that has no interface at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from env.language import Message
from env.stack import ROOT, this_machine, this_python
from tests.env.wheels import flip_a_byte, lock_line, make_wheel

TINY = {
    "tools": ("jinja2", "msgspec", "packaging", "rich"),
    "host": ("torch", "torchaudio", "transformers", "accelerate", "soundfile", "librosa", "safetensors"),
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The project's env/ and requirements/ with locks of tiny wheels under the real names, and those wheels."""
    house = tmp_path / "house"
    shutil.copytree(ROOT / "env", house / "env", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "requirements", house / "requirements")
    wheels = tmp_path / "wheels"
    locks = {name: "".join(lock_line(make_wheel(wheels, one, "1.0")) for one in names) for name, names in TINY.items()}
    (house / "requirements" / "tools.txt").write_text(locks["tools"], encoding="utf-8")
    (house / "requirements" / "nox.txt").write_text("", encoding="utf-8")
    name = f"host-{this_machine()}-py{this_python().replace('.', '')}.txt"
    (house / "requirements" / "locks" / name).write_text(locks["host"], encoding="utf-8")
    return house


def offline_setup(house: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Setup in a network namespace that has no interface, not even a configured loopback."""
    command = [sys.executable, "-m", "env", "setup", "--device", "cpu", "--profile", "host", "--offline"]
    command += [
        "--wheelhouse",
        str(house.parent / "wheels"),
        "--results",
        str(house / "results"),
        "--run",
        "r1",
        *words,
    ]
    return subprocess.run(
        ["unshare", "--map-root-user", "--net", *command], cwd=house, capture_output=True, text=True, check=False
    )


def no_namespaces() -> bool:
    unshare = shutil.which("unshare")
    return unshare is None or subprocess.run([unshare, "--map-root-user", "--net", "true"], check=False).returncode != 0


@pytest.mark.skipif(no_namespaces(), reason="this system makes no network namespaces for users")
@pytest.mark.parametrize("installer", ["uv", pytest.param("pip", marks=pytest.mark.slow)])
def test_setup_builds_with_the_network_off(house: Path, installer: str) -> None:
    done = offline_setup(house, "--installer", installer)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((house / "results" / "r1" / "setup.json").read_text(encoding="utf-8"))
    assert record["status"] == "pass"
    assert {name: record["data"]["packages"][name] for name in TINY["host"]} == dict.fromkeys(TINY["host"], "1.0")
    flip_a_byte(house.parent / "wheels" / "rich-1.0-py3-none-any.whl")
    again = offline_setup(house, "--installer", installer)
    assert again.returncode == 0, again.stderr  # it stands: nothing is taken from the wheelhouse


@pytest.mark.skipif(no_namespaces(), reason="this system makes no network namespaces for users")
def test_setup_refuses_a_wheelhouse_with_one_flipped_byte_by_name(house: Path) -> None:
    flip_a_byte(house.parent / "wheels" / "torch-1.0-py3-none-any.whl")
    (house.parent / "wheels" / "librosa-1.0-py3-none-any.whl").unlink()
    done = offline_setup(house)
    assert done.returncode == 16
    assert "damaged: torch-1.0-py3-none-any.whl" in done.stderr
    assert "missing: a wheel of librosa 1.0" in done.stderr
    assert not (house / ".venvs").exists()
    record = json.loads((house / "results" / "r1" / "setup.json").read_text(encoding="utf-8"))
    assert record["status"] == "fail"
    assert "torch-1.0-py3-none-any.whl" in Message.from_json(record["reason"])
