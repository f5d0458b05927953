"""`python -m env audit`: what is wrong with this machine, a captured one, or a set of versions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from env.atomic import write_text
from env.audit import judge, render
from env.audit.case import TORCH_NPU, Case
from env.audit.question import answer, ask, machine_stack, read_stack, suggest
from env.device_name import DeviceName
from env.errors import HostError
from env.options import device
from env.probe.command import add_machine_options, read_machine
from env.stack import load_stack


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="nox -s audit --",
        description="Judge an Ascend host: driver, CANN, torch-npu, Python, packages and devices, against each other.",
        epilog=f"Exit status: 0 without errors, {HostError.exit_code} with.",
        allow_abbrev=False,
    )
    add_machine_options(parser)
    parser.add_argument(
        "--stack", metavar="NAME=VERSION", nargs="+", help="would these versions pair? No machine needed"
    )
    parser.add_argument("--suggest", action="store_true", help="the nearest pairings that would")
    parser.add_argument(
        "--device", type=device, default="auto", help="npu: judge as if an NPU must be there (default: auto)"
    )
    parser.add_argument("--checkpoint-bytes", metavar="N", type=int, help="size of the weights, to judge memory by")
    parser.add_argument("--json", action="store_true", help="print findings, passed and skipped rules as JSON")
    parser.add_argument("--junit", metavar="FILE", help="also write JUnit XML, a test case for each rule")
    arguments = parser.parse_args(argv)
    declared = load_stack()
    subject: dict[str, Any]
    if arguments.stack:
        stack = read_stack(arguments.stack)
        judgements, subject = ask(stack, declared), {"stack": stack}
        assumed = "" if TORCH_NPU in stack else f", with the declared torch-npu {declared.packages[TORCH_NPU]}"
        title = f"would this pair? {_shown(stack)}{assumed}: {answer(judgements)}"
    else:
        host = read_machine(arguments)
        stack = machine_stack(host)
        title = f"audit of {'this machine' if arguments.root == '/' else arguments.root}: {_shown(stack)}"
        profile = "npu" if host.ascend or DeviceName.parse(arguments.device).kind == "npu" else "host"
        judgements = judge(Case(host, declared, profile, arguments.checkpoint_bytes))
        subject = {"host": asdict(host), "ascend_host": host.ascend}
    suggestions = suggest(stack, declared) if arguments.suggest else None
    if arguments.junit:
        write_text(Path(arguments.junit), render.junit("audit", judgements))
    if arguments.json:
        print(json.dumps(render.as_json(subject, judgements, suggestions), indent=2, ensure_ascii=False))
    else:
        lines = [
            *render.page(title, judgements),
            *(() if suggestions is None else render.suggestions_page(suggestions)),
        ]
        print("\n".join(lines))
    return HostError.exit_code if any(each.severity == "error" for each in render.findings_of(judgements)) else 0


def _shown(stack: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in stack.items())
