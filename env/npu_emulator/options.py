"""The options that shape the emulated device, for `python -m env.npu_emulator run` and `nox -s emulated`."""

from __future__ import annotations

import argparse
from pathlib import Path

WHEELS = Path(__file__).resolve().parent / "wheels"
VARIABLES = {
    "count": "NPU_EMU_COUNT",
    "soc": "NPU_EMU_SOC",
    "hbm": "NPU_EMU_HBM",
    "cann": "NPU_EMU_CANN",
    "trace": "NPU_EMU_TRACE",
    "faults": "NPU_EMU_FAULTS",
}


def releases() -> tuple[str, ...]:
    """The torch-npu releases that are pinned here, oldest first."""
    return tuple(sorted(path.stem.removeprefix("torch-npu-") for path in WHEELS.glob("torch-npu-*.txt")))


def add_release_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--torch-npu", default=releases()[0], choices=releases(), help="default: %(default)s")


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """What the emulated device is like; each is an environment variable of the emulated program."""
    group = parser.add_argument_group("emulated device")
    group.add_argument("--count", type=int, help="number of devices (default: 1)")
    group.add_argument("--soc", help="name of the chip (default: Ascend910B4)")
    group.add_argument("--hbm", type=int, metavar="BYTES", help="device memory (default: 64 GiB)")
    group.add_argument("--cann", metavar="VERSION", help="what the stand-in CANN reports (default: 8.5.0)")
    group.add_argument("--trace", action="store_const", const=1, help="print each ACL call")
    group.add_argument("--faults", metavar="JSON", help="a list of faults, or a file with one (verify/faults/spec.py)")


def variables(options: argparse.Namespace) -> dict[str, str]:
    """The environment variables that say what was asked for."""
    given = {variable: getattr(options, name) for name, variable in VARIABLES.items()}
    return {variable: str(value) for variable, value in given.items() if value is not None}
