"""The options that shape the emulated device, for `python -m env.npu_emulator run` and `nox -s emulated`."""

from __future__ import annotations

import argparse
from pathlib import Path

from env.language import _
from env.options import Option

WHEELS = Path(__file__).resolve().parent / "wheels"


def releases() -> tuple[str, ...]:
    """The torch-npu releases that are pinned here, oldest first."""
    return tuple(sorted(path.stem.removeprefix("torch-npu-") for path in WHEELS.glob("torch-npu-*.txt")))


TORCH_NPU = Option("--torch-npu", _("the release of torch-npu"), {"default": releases()[0], "choices": releases()})

COUNT = Option("--count", _("number of devices (default: 1)"), {"type": int})
SOC = Option("--soc", _("name of the chip (default: Ascend910B4)"))
HBM = Option("--hbm", _("device memory (default: 64 GiB)"), {"type": int, "metavar": "BYTES"})
CANN = Option("--cann", _("what the stand-in CANN reports (default: 8.5.0)"), {"metavar": "VERSION"})
TRACE = Option("--trace", _("print each ACL call"), {"action": "store_const", "const": 1})
FAULTS = Option("--faults", _("a list of faults, or a file with one (verify/faults/spec.py)"), {"metavar": "JSON"})
EMULATED_DEVICE = (COUNT, SOC, HBM, CANN, TRACE, FAULTS)

FAULTS_VARIABLE = "NPU_EMU_FAULTS"
VARIABLES = {  # of the emulated program, each set by one option
    "NPU_EMU_COUNT": COUNT,
    "NPU_EMU_SOC": SOC,
    "NPU_EMU_HBM": HBM,
    "NPU_EMU_CANN": CANN,
    "NPU_EMU_TRACE": TRACE,
    FAULTS_VARIABLE: FAULTS,
}


def variables(options: argparse.Namespace) -> dict[str, str]:
    """The environment variables that the options set."""
    values = {variable: getattr(options, option.name) for variable, option in VARIABLES.items()}
    return {variable: str(value) for variable, value in values.items() if value is not None}
