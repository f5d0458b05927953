"""The options that shape the emulated device, for `python -m env.npu_emulator run` and `nox -s emulated`."""

from __future__ import annotations

import argparse
from pathlib import Path

from env.language import _
from env.options import Option

from .chips import chip_like, load_emulated_chips

WHEELS = Path(__file__).resolve().parent / "wheels"


def releases() -> tuple[str, ...]:
    """The torch-npu releases that are pinned here, oldest first."""
    return tuple(sorted(path.stem.removeprefix("torch-npu-") for path in WHEELS.glob("torch-npu-*.txt")))


def has_gelu_switch(release: str) -> bool:
    """Whether it hands torch's `approximate` on where asked to (op-plugin, GeluKernelNpuOpApi.cpp: from post1 on)."""
    return ".post" in release


TORCH_NPU = Option("--torch-npu", _("the release of torch-npu"), {"default": releases()[0], "choices": releases()})

DEFAULT_CHIP = load_emulated_chips()["910B4"]
CHIP = Option(
    "--chip",
    _("the chip that is emulated: what it computes, and its memory (env/npu_emulator/chips.toml; default: 910B4)"),
    {"choices": tuple(load_emulated_chips())},
)
COUNT = Option("--count", _("number of devices (default: 1)"), {"type": int})
SOC = Option("--soc", _("the runtime's name of the chip; it computes as --chip, or else as the chip of its family"))
HBM = Option("--hbm", _("device memory (default: the chip's)"), {"type": int, "metavar": "BYTES"})
CANN = Option("--cann", _("what the stand-in CANN reports (default: 8.5.0)"), {"metavar": "VERSION"})
TRACE = Option("--trace", _("print each ACL call"), {"action": "store_const", "const": 1})
FAULTS = Option("--faults", _("a list of faults, or a file with one (verify/faults/spec.py)"), {"metavar": "JSON"})
EMULATED_DEVICE = (CHIP, COUNT, SOC, HBM, CANN, TRACE, FAULTS)

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
    """The environment variables that the options set; those of the chip where they name one."""
    chip = load_emulated_chips()[options.chip] if options.chip else chip_like(options.soc) if options.soc else None
    values = {variable: getattr(options, option.name) for variable, option in VARIABLES.items()}
    chosen = {variable: str(value) for variable, value in values.items() if value is not None}
    return {**(chip.variables if chip else {}), **chosen}
