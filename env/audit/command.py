"""`python -m env audit`: what is wrong with this machine, a captured one, or a set of versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from env.arguments import Parser
from env.atomic import write_text
from env.audit import judge, render
from env.audit.pairing_query import answer, judge_stack, machine_stack, read_stack, unjudged
from env.audit.registry import TORCH_NPU, Subject
from env.audit.suggest import suggest
from env.device_name import DeviceName
from env.errors import HostError
from env.language import Message, _, translate
from env.options import device
from env.probe.command import add_machine_options, read_machine
from env.stack import load_stack


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="nox -s audit --",
        description=_(
            "Judge an Ascend host: driver, CANN, torch-npu, Python, packages and devices, against each other."
        ),
        epilog=_("Exit status: 0 without errors, {code} with.", code=HostError.exit_code),
    )
    add_machine_options(parser)
    parser.add_argument(
        "--stack", metavar="NAME=VERSION", nargs="+", help=_("would these versions pair? No machine needed")
    )
    parser.add_argument("--suggest", action="store_true", help=_("the nearest pairings that would"))
    parser.add_argument(
        "--device", type=device, default="auto", help=_("npu: judge as if an NPU must be there (default: auto)")
    )
    parser.add_argument("--checkpoint-bytes", metavar="N", type=int, help=_("size of the weights, to judge memory by"))
    parser.add_argument("--json", action="store_true", help=_("print findings, passed and skipped rules as JSON"))
    parser.add_argument("--junit", metavar="FILE", help=_("also write JUnit XML, a test case for each rule"))
    arguments = parser.parse_args(argv)
    declared = load_stack()
    facts: dict[str, Any]
    remarks: list[Message] = []
    if arguments.stack:
        stack = read_stack(arguments.stack)
        judgements = judge_stack(stack, declared)
        reply, missing = answer(stack, judgements), unjudged(stack, judgements)
        facts = {"stack": stack, "answer": reply, "unjudged": missing}
        title = _pairing_title(stack, declared.packages[TORCH_NPU], reply)
        remarks = [
            _("not judged: {part} {version} ({reason})", part=part, version=stack[part], reason=reason)
            for part, reason in missing.items()
        ]
    else:
        host = read_machine(arguments)
        stack = machine_stack(host)
        machine = _("this machine") if arguments.root == "/" else arguments.root
        title = _("audit of {machine}: {stack}", machine=machine, stack=_shown(stack))
        device_name = DeviceName.parse(arguments.device)
        profile = "npu" if host.ascend or device_name.kind == "npu" else "host"
        card = device_name.index if device_name.kind == "npu" and device_name.has_index else None
        judgements = judge(Subject(host, declared, profile, arguments.checkpoint_bytes, device=card))
        facts = {"host": asdict(host), "ascend_host": host.ascend}
    suggestions = suggest(stack, declared) if arguments.suggest else None
    if arguments.junit:
        write_text(Path(arguments.junit), render.junit("audit", judgements))
    if arguments.json:
        print(json.dumps(render.as_json(facts, judgements, suggestions), indent=2, ensure_ascii=False))
    else:
        lines = [
            *render.page(title, judgements, remarks),
            *(() if suggestions is None else render.suggestions_page(suggestions)),
        ]
        print("\n".join(map(translate, lines)))
    return HostError.exit_code if any(each.severity == "error" for each in render.findings_of(judgements)) else 0


def _pairing_title(stack: Mapping[str, str], declared: str, reply: str) -> Message:
    if TORCH_NPU in stack:
        return _("would this pair? {stack}: {answer}", stack=_shown(stack), answer=reply)
    return _(
        "would this pair? {stack}, with the declared torch-npu {declared}: {answer}",
        stack=_shown(stack),
        declared=declared,
        answer=reply,
    )


def _shown(stack: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in stack.items())
