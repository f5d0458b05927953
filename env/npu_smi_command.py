"""`python -m env npu-smi`: what npu-smi printed, read and shown, its kind as the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from env import elsewhere
from env.arguments import Parser
from env.errors import InputError
from env.language import Message, _, translate
from env.npu_smi import Chip, Kind, Process, Reading, parse
from env.npu_smi_rows import HUGEPAGES


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env npu-smi",
        description=_("Read what `npu-smi info` printed, with or without an option."),
        epilog=_("Exit status: 0 a table, or the answer to -l, -m or -t, was read, 3 a failure message, 4 neither."),
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
    return reading.kind.exit_code


def read_capture(file: str) -> str:
    """The text of a captured output: UTF-8, or UTF-16 with its mark (as PowerShell redirects), never a decode error.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        kind = "command's output"
        data = elsewhere.limited(sys.stdin.buffer, kind) if file == "-" else elsewhere.read_bytes(file, kind)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(_("cannot read {file}: {reason}", file=file, reason=reason), next=f"ls -l {file}") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, "replace")


def page(reading: Reading) -> Iterator[Message]:
    """The reading, a line for each chip, process and line that was not read; a line for each label of an answer."""
    answered = reading.kind not in (Kind.FAILURE, Kind.NEITHER)
    if reading.kind is Kind.TABLE:
        yield _(
            "npu-smi {tool}, driver {driver}", tool=_shown(reading.tool_version), driver=_shown(reading.driver_version)
        )
    elif answered:
        yield _("npu-smi info: {kind}, driver {driver}", kind=reading.kind.value, driver=_shown(reading.driver_version))
    for chip in reading.chips:
        yield from _chip(chip) if reading.kind is Kind.TABLE else _answer(chip)
    yield from map(_process, reading.processes)
    if reading.error is not None:
        yield _("npu-smi failed: {error}", error=reading.error)
    if reading.kind is Kind.NEITHER:
        yield _("neither a table of npu-smi info nor one of its failure messages")
    for line in reading.unread:
        yield _("unread: {line}", line=line)


def _chip(chip: Chip) -> Iterator[Message]:
    yield _(
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
    if chip.ddr_total_mb or (chip.ddr_total_mb is not None and chip.hbm_total_mb is None):
        yield _labelled(chip, "DDR", f"{_shown(chip.ddr_used_mb)} / {chip.ddr_total_mb} MB")
    if chip.npu_pct is not None:
        yield _labelled(chip, "NPU Util(%)", f"{chip.npu_pct:g}")
    for label, text in chip.other.items():
        if label != HUGEPAGES:
            yield _labelled(chip, label, text)


def _answer(chip: Chip) -> Iterator[Message]:
    """What an option's answer tells: fields by their names in the JSON, the rest by the labels that it has."""
    for name, value in asdict(chip).items():
        if name not in ("npu", "chip", "other") and value is not None:
            yield _labelled(chip, name, str(value))
    for label, text in chip.other.items():
        yield _labelled(chip, label, text)


def _labelled(chip: Chip, label: str, value: str) -> Message:
    return _(
        "npu {npu} chip {chip}: {label}: {value}",
        npu=_shown(chip.npu),
        chip=_shown(chip.chip),
        label=label,
        value=value,
    )


def _process(process: Process) -> Message:
    return _(
        "npu {npu} chip {chip}: process {pid} ({name}), {memory}",
        npu=_shown(process.npu),
        chip=_shown(process.chip),
        pid=process.pid,
        name=_shown(process.name),
        memory=_shown(process.memory_mb, " MB"),
    )


def _shown(value: object, unit: str = "") -> str:
    return "?" if value is None else f"{value}{unit}"
