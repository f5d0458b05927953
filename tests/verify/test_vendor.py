"""The vendor's tools beside our floors: what is asked of them, what passes, and where the two cannot both be right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from env.runner import Completed
from model.components import Loaded
from model.device import Device
from tests.env.test_ascend_dmi import capture
from verify.checks import vendor
from verify.reference import copies
from verify.run.context import Context
from verify.run.figures.benchmark import FloorsFigures
from verify.run.figures.vendor import VendorFigures, VendorRateFigures
from verify.run.records import Outcome, Status
from verify.run.vendor import contradictions
from verify.run.verification import Verification

Answers = dict[str, str]
HEALTHY: Answers = {
    "driver,cann": capture("dg_software"),
    "device,hbm,bandwidth,aiflops": capture("dg_card"),
    "h2d": capture("bw_h2d"),
    "d2h": capture("error"),
    "d2d": capture("bw_d2d"),
    "fp32": '{"computing_power":{"device_id":"0","tflops_fp32":66.5}}',
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tool = tmp_path / "toolbox" / "latest" / "Ascend-DMI" / "bin" / "ascend-dmi"
    tool.parent.mkdir(parents=True)
    tool.write_text("", encoding="utf-8")
    return tmp_path


class Npu(Device):
    """A card that is asked for nothing but its number."""

    def empty_cache(self) -> None:
        pass


@pytest.fixture
def verified(
    home: Path, tiny_float32: Loaded, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Answers], tuple[Outcome, list[tuple[str, ...]]]]:
    """The check on an NPU whose tools answer as they are told; beside its outcome, every command."""
    folder = tiny_float32.checkpoint.folder
    session = Verification(Context("npu:0", str(folder), "float32", 42, 3, folder), tiny_float32)
    session.digest = "0" * 64
    session.device = Npu("npu", 1, "npu:1")
    floors = FloorsFigures(read_gb_s=700.0, gemm_gflop_s=60_000.0)
    monkeypatch.setattr(vendor, "measure_floors", lambda *_arguments: floors)
    monkeypatch.setattr(copies, "measure", lambda *_arguments: [])
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "4,6")

    def verify(answers: Answers) -> tuple[Outcome, list[tuple[str, ...]]]:
        commands: list[tuple[str, ...]] = []

        def run(args: Sequence[str], *, timeout: float = 10.0, environ: Any = None) -> Completed:
            if args[0] == "npu-smi":
                return Completed(tuple(args), 0, answers.get("npu-smi", ""))
            assert "ASCEND_RT_VISIBLE_DEVICES" not in environ
            commands.append(tuple(args[1:]))
            text = next((text for word, text in answers.items() if word in args), "")
            return Completed(tuple(args), 0 if text else 1, text, "" if text else "dcmi init failed")

        return vendor.check(session, run, home), commands

    return verify


def test_each_tool_is_asked_of_the_machines_own_number_of_the_card(verified: Any) -> None:
    outcome, commands = verified(HEALTHY)
    assert outcome.status is Status.PASS, outcome.reason
    assert commands == [
        ("--dg", "-i", "driver,cann", "-q", "--fmt", "json"),
        ("--dg", "-i", "device,hbm,bandwidth,aiflops", "-d", "6", "-q", "--fmt", "json"),
        ("--bw", "-t", "h2d", "-s", "536870912", "--et", "50", "-d", "6", "-q", "--fmt", "json"),
        ("--bw", "-t", "d2h", "-s", "536870912", "--et", "50", "-d", "6", "-q", "--fmt", "json"),
        ("--bw", "-t", "d2d", "-d", "6", "-q", "--fmt", "json"),
        ("-f", "-t", "fp32", "-d", "6", "-q", "--fmt", "json"),
    ]
    assert str(outcome.reason) == (
        "3 items of the vendor's diagnosis passed, 3 rates read; not among what passed: hbm SKIP, aiflops FAIL; "
        "d2h not read: error 2: internal error"
    )


def test_a_bad_item_fails(verified: Any) -> None:
    outcome, _commands = verified(HEALTHY | {"device,hbm,bandwidth,aiflops": capture("dg_failed")})
    assert outcome.status is Status.FAIL
    assert "d2d bandwidth diagnosis failed on device 0 with bandwidth 751.06 / 4999" in str(outcome.reason)


SKIPPED = '{"DiagnosisItems":[{"group_name":"x","sub_items":[{"item_name":"hbm","item_result":"NULL"}]}]}'


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({}, "tested nothing; driver,cann not read: dcmi init failed"),
        ({"driver,cann": SKIPPED}, "tested nothing; not among what passed: hbm NULL"),
        (
            {"npu-smi": "| NPU     Chip | Process id | Process name | Process memory(MB) |\n"
                        "| 3       0    | 4242       | python3.11   | 21733              |\n"
                        "| 3       0    | 4243       | python3.11   | 21733              |\n"},
            "process 4242 is on NPU 3",
        ),
    ],
)  # fmt: skip
def test_what_tested_nothing_is_a_skip(verified: Any, answers: Answers, reason: str) -> None:
    outcome, _commands = verified(answers)
    assert (outcome.status, reason in str(outcome.reason)) == (Status.SKIP, True), outcome.reason


def test_without_the_tool_or_an_npu_nothing_is_run(tiny_float32: Loaded, tmp_path: Path) -> None:
    def run(args: Sequence[str], *, timeout: float = 10.0, environ: Any = None) -> Completed:
        raise AssertionError(args)

    folder = tiny_float32.checkpoint.folder
    session = Verification(Context("cpu", str(folder), "float32", 42, 3, folder), tiny_float32)
    assert "those of NPUs, and this is cpu" in str(vendor.check(session, run, tmp_path).reason)
    session.device = Npu("npu", 0, "npu:0")
    outcome = vendor.check(session, run, tmp_path)
    assert (outcome.status, str(outcome.reason)) == (Status.SKIP, f"ascend-dmi is not in {tmp_path / 'toolbox'}")


@pytest.mark.parametrize(
    ("theirs", "dies", "ours", "remark"),
    [
        (27.0, 1, 26.0, None),
        (27.0, 1, None, None),
        (27.0, 1, 40.0, "40.0 GB/s measured here, more than the vendor's tool reaches (27.0)"),
        (27.0, 1, 13.0, "13.0 GB/s measured here, less than half of the vendor's 27.0"),
        (752.0, 2, 350.0, None),  # of both dies of an A3 card
        (752.0, 2, 700.0, "700.0 GB/s measured here, more than the vendor's tool reaches (376.0)"),
    ],
)
def test_rates_that_cannot_both_be_right_are_told(
    theirs: float, dies: int, ours: float | None, remark: str | None
) -> None:
    rate = VendorRateFigures(name="h2d", unit="GB/s", theirs=theirs, dies=dies, ours=ours)
    texts = contradictions(VendorFigures(tool="x", items=[], rates=[rate], unread={}))
    assert [str(text) for text in texts] == ([f"h2d: {remark}"] if remark else [])
