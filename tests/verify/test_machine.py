"""The machine check: when findings fail it, and what its record may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from env.probe import probe
from tests.env import machines
from verify.checks.machine import check, checkpoint_bytes, judged
from verify.run.context import Context
from verify.run.records import Outcome, Status
from verify.run.verification import Verification


def asked(device: str, model_dir: str = "synthetic:tiny") -> Context:
    return Context(device, model_dir, "auto", 42, 1, Path("unused"))


def outcome(name: str, device: str, folder: Path, *, emulated: bool = False) -> Outcome:
    machines.build(name, folder)
    return judged(probe(folder), asked(device), emulated=emulated)


@pytest.mark.parametrize(
    ("name", "device", "status", "said"),
    [
        ("healthy-910b4", "npu:0", Status.PASS, "nothing wrong was found"),
        ("driver-too-old", "npu:0", Status.FAIL, "driver (HDK) 24.1.rc2.2 is older"),
        ("driver-too-old", "auto", Status.FAIL, "1 error, 0 warnings"),
        ("driver-too-old", "cpu", Status.PASS, "1 error, 0 warnings"),
        ("cann-newer", "npu:0", Status.PASS, "0 errors, 1 warning,"),
        ("laptop", "cpu", Status.PASS, "is not an Ascend host"),
        ("laptop", "auto", Status.PASS, "is not an Ascend host"),
        ("laptop", "npu:0", Status.FAIL, "no Ascend driver"),
        ("small-machine", "cpu", Status.PASS, "Python 3.13.1"),
    ],
)
def test_errors_fail_it_where_an_npu_is_meant(
    name: str, device: str, status: Status, said: str, tmp_path: Path
) -> None:
    found = outcome(name, device, tmp_path)
    assert found.status is status
    assert said in found.reason


def test_an_emulated_npu_is_not_judged(tmp_path: Path) -> None:
    found = outcome("laptop", "npu:0", tmp_path, emulated=True)
    assert found.status is Status.PASS
    assert found.reason.endswith("the NPU is emulated, its host was not judged")


def test_the_record_names_driver_cann_and_chips(tmp_path: Path) -> None:
    data = outcome("healthy-a3", "npu:0", tmp_path).data
    assert data["ascend_host"] is True
    assert data["host"]["driver"] == {"hdk": "25.5.1", "innerversion": "V100R001C25SPC003B210"}
    assert data["host"]["cann"]["release"] == "8.5.1"
    assert [chip["name"] for chip in data["host"]["chips"]] == ["Ascend910"] * 4
    assert data["host"]["devices"] == {"pci": 4, "nodes": 4, "npu_smi": 4, "hal": 4}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_it_runs_on_this_machine_and_names_no_folder_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPU_EMU", raising=False)
    found = check(Verification(asked("cpu")))
    assert found.status is Status.PASS
    assert str(Path.cwd()) not in json.dumps(found.data)


def test_the_size_of_a_checkpoint_is_that_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"12345")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"678")
    (tmp_path / "config.json").write_text("{}")
    assert checkpoint_bytes(str(tmp_path)) == 8
    assert checkpoint_bytes("synthetic:tiny") is None
    assert checkpoint_bytes(str(tmp_path / "absent")) is None
