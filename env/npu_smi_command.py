"""`python -m env npu-smi`: what npu-smi printed, read and shown, its kind as the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from env.arguments import Parser
from env.errors import InputError
from env.language import Message, _, translate
from env.npu_smi import Chip, Kind, Process, Reading, parse


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env npu-smi",
        description=_("Read what `npu-smi info` printed."),
        epilog=_("Exit status: 0 a table was read, 3 a failure message was read, 4 neither."),
    )
    parser.add_argument("file", help=_('captured output, or "-" for standard input'))
    parser.add_argument("--json", action="store_true", help=_("print the reading as JSON"))
    arguments = parser.parse_args(argv)
    reading = parse(read_capture(arguments.file))
    if arguments.json:
        print(json.dumps(reading.as_dict(), indent=2))
    else:
        for line in page(reading):
            print(translate(line))
    return reading.kind.value


def read_capture(file: str) -> str:
    """The text of a captured output: UTF-8, or UTF-16 with its mark (as PowerShell redirects), never a decode error.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(_("cannot read {file}: {reason}", file=file, reason=reason), next=f"ls -l {file}") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, "replace")


def page(reading: Reading) -> Iterator[Message]:
    """The reading, a line for each chip, process and line that was not read."""
    if reading.kind is Kind.TABLE:
        yield _(
            "npu-smi {tool}, driver {driver}", tool=_shown(reading.tool_version), driver=_shown(reading.driver_version)
        )
    yield from map(_chip, reading.chips)
    yield from map(_process, reading.processes)
    if reading.error is not None:
        yield _("npu-smi failed: {error}", error=reading.error)
    if reading.kind is Kind.NEITHER:
        yield _("neither a table of npu-smi info nor one of its failure messages")
    for line in reading.unread:
        yield _("unread: {line}", line=line)


def _chip(chip: Chip) -> Message:
    return _(
        "npu {npu} chip {chip}: {name}, {health}, {power}, {temperature}, bus {bus}, AI core {busy}, "
        "memory {used} of {total} MB",
        npu=chip.npu,
        chip=chip.chip,
        name=_shown(chip.name),
        health=_shown(chip.health),
        power=_shown(chip.power_w, " W"),
        temperature=_shown(chip.temp_c, " C"),
        bus=_shown(chip.bus),
        busy=_shown(chip.aicore_pct, " %"),
        used=_shown(chip.hbm_used_mb),
        total=_shown(chip.hbm_total_mb),
    )


def _process(process: Process) -> Message:
    return _(
        "npu {npu} chip {chip}: process {pid} ({name}), {memory}",
        npu=process.npu,
        chip=process.chip,
        pid=process.pid,
        name=_shown(process.name),
        memory=_shown(process.memory_mb, " MB"),
    )


def _shown(value: object, unit: str = "") -> str:
    return "?" if value is None else f"{value}{unit}"
