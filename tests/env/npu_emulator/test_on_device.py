"""The emulated device as a whole: builds it for each pinned torch-npu and runs the tests of on_device/ on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from env.npu_emulator.options import releases
from env.stack import ROOT
from tests.env.npu_emulator.needed import needs_emulator

ON_DEVICE = Path(__file__).parent / "on_device"

pytestmark = [pytest.mark.slow, needs_emulator]


def emulated(release: str, *command: str, **options: str) -> subprocess.CompletedProcess[str]:
    words = [f"--{name}={value}" for name, value in options.items()]
    run = [sys.executable, "-m", "env.npu_emulator", "run", "--torch-npu", release, *words, "--", *command]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(run, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=500)


def suite(release: str, path: Path, **options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", str(path), "-q", "-W", "default", "-p", "no:cacheprovider"]
    return emulated(release, *command, **options)


@pytest.mark.parametrize("release", releases())
def test_the_device_passes_its_own_tests(release: str) -> None:
    done = suite(release, ON_DEVICE, count="2")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 100


FAULT = {"at": "op", "target": "mul", "kind": "zero", "card": 1}


def test_options_shape_the_device_and_children_inherit_it(tmp_path: Path) -> None:
    """And a fault in an operator is in the card that it names."""
    child = "import torch, torch_npu; print(torch.npu.device_count(), torch.npu.get_device_name(0), "
    child += "[torch.ones(2, device=f'npu:{card}').mul(3).sum().item() for card in range(3)])"
    parent = tmp_path / "parent.py"
    parent.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)\n")
    options = {"count": "3", "soc": "Ascend910_9391", "faults": json.dumps([FAULT])}
    done = emulated(releases()[0], sys.executable, str(parent), **options)
    assert done.stdout.splitlines()[-1] == "3 Ascend910_9391 [6.0, 0.0, 6.0]", done.stderr


# Atlas training and inference products, by the vendor's own documents (env/npu_emulator/chips.toml).
OLD_CHIP = """
import torch, torch_npu
x = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
error = ((x.to("npu") @ x.to("npu")).cpu() - x @ x).norm() / (x @ x).norm()
exp = torch.exp(torch.tensor([12.0], dtype=torch.float16).npu()).item()
root = torch.sqrt(torch.tensor([-1.0], dtype=torch.float16).npu()).item()
try:
    x.to("npu").bfloat16()
except RuntimeError as refused:
    text = str(refused)
flag = torch_npu.npu.get_npu_overflow_flag()
torch_npu.npu.clear_npu_overflow_flag()
print([bool(2**-14 < error < 2**-11), exp, root, "not implemented for DT_BFLOAT16" in text, flag,
       torch_npu.npu.get_npu_overflow_flag(), torch_npu.npu.is_bf16_supported(), torch_npu.npu.is_jit_compile_false()])
"""


@pytest.mark.parametrize("chip", ["310P", "910A"])
def test_a_chip_before_atlas_a2_multiplies_in_float16_saturates_and_has_no_bfloat16(chip: str) -> None:
    done = emulated(releases()[0], sys.executable, "-c", OLD_CHIP, chip=chip)
    assert done.stdout.splitlines()[-1] == "[True, 65504.0, 0.0, True, True, False, False, False]", done.stderr


def test_a_machine_without_devices_is_reported_as_torch_npu_does() -> None:
    program = "import torch, torch_npu; print(torch.npu.is_available()); torch.zeros(1, device='npu')"
    done = emulated(releases()[0], sys.executable, "-c", program, count="0")
    assert done.stdout.splitlines()[-1] == "False"
    assert "507033" in done.stderr


def test_a_fault_reaches_the_model_of_an_unmodified_program() -> None:
    rows = '[{"at": "module", "target": "encoder.layers.1.conv", "kind": "scale", "size": 1.5}]'
    done = suite(releases()[0], ON_DEVICE / "test_granite_speech.py", faults=rows)
    assert done.returncode == 1
    assert re.search(r"FAILED .*::test_audio_embeddings_equal_the_cpu_bit_for_bit", done.stdout)
