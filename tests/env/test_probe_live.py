"""The probe on this machine, with its outside commands replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import msgspec

from env.probe import Host, probe
from env.runner import NOT_FOUND, TIMED_OUT, Completed
from env.stack import ROOT

TABLE = """
+------------------------------------------------------------------------------------------------+
| npu-smi 25.5.1                   Version: 25.5.1                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B4               | OK            | 85.1        40                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          2811 / 32768         |
+===========================+===============+====================================================+
"""


class Answers:
    """A runner that knows two commands, and remembers the calls."""

    def __init__(self, smi: Completed, hal: Completed) -> None:
        self.smi, self.hal = smi, hal
        self.calls: list[tuple[str, ...]] = []

    def __call__(
        self, args: Sequence[str], *, timeout: float = 10.0, environ: Mapping[str, str] | None = None
    ) -> Completed:
        self.calls.append(tuple(args))
        return self.smi if args[-1] == "info" else self.hal


def test_npu_smi_and_the_hal_are_read() -> None:
    answers = Answers(
        Completed((), 0, TABLE),
        Completed((), 0, json.dumps({"count": 1, "library": "/usr/lib/libascend_hal.so", "error": None})),
    )
    host = probe(runner=answers, environ={})
    assert (host.npu_smi.status, host.npu_smi.driver_version, host.npu_smi.chips[0].name) == ("ok", "25.5.1", "910B4")
    assert (host.hal.count, host.hal.library) == (1, "/usr/lib/libascend_hal.so")
    assert [args[:2] for args in answers.calls if args[-1] == "info"] == [("npu-smi", "info")]
    assert host.ascend


def test_a_hanging_npu_smi_and_a_crashing_hal_are_facts() -> None:
    host = probe(runner=Answers(Completed((), TIMED_OUT), Completed((), -11)), environ={})
    assert host.npu_smi.status == "timeout"
    assert host.hal.error == "loading libascend_hal.so killed the process: signal 11"


def test_a_machine_without_the_tool_is_no_ascend_host() -> None:
    absent = Completed((), NOT_FOUND, stderr="npu-smi: command not found")
    host = probe(runner=Answers(absent, Completed((), 0, '{"count": null, "library": null, "error": "x"}')), environ={})
    assert host.npu_smi.status == "missing"


def test_facts_survive_json() -> None:
    host = probe(environ={"ASCEND_HOME_PATH": "/nowhere"})
    assert msgspec.json.decode(json.dumps(asdict(host)), type=Host) == host


def test_only_known_variables_are_kept() -> None:
    host = probe(environ={"ASCEND_RT_VISIBLE_DEVICES": "0,1", "AWS_SECRET_ACCESS_KEY": "x", "HF_TOKEN": "y"})
    assert host.environ == {"ASCEND_RT_VISIBLE_DEVICES": "0,1"}


def test_a_live_machine_is_audited_without_msgspec() -> None:
    """As before setup, on a Python that has nox and no more."""
    code = "import sys; sys.modules['msgspec'] = None\n"
    code += "from env.__main__ import main; main(['audit', '--site', '/nowhere'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
