"""`python -m env COMMAND`: what the bundle can do about a machine. Each command's module is imported only to run it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from env.arguments import speak
from env.ending import interrupt_once
from env.errors import UsageError, run_main
from env.language import _, translate

# name: (module of its `main(argv) -> exit code`, what it does)
COMMANDS = {
    "npu-smi": ("env.npu_smi_command", _("read what npu-smi printed, in any of its layouts")),
    "doctor": ("env.doctor", _("find the known failures in a log: cause, check, fix, source")),
    "setup": ("env.setup", _("check the machine and build the pinned environment")),
    "wheelhouse": ("env.wheelhouse.collect", _("collect the locked wheels for a machine without network")),
    "lock": ("env.lock", _("write the hashed locks anew")),
    "bench-setup": ("env.bench_setup", _("time our setup beside venv and pip")),
    "bench-doctor": ("env.bench_doctor", _("time the doctor on a long log")),
    "supply": ("env.supply", _("known vulnerabilities and licences of every pin of the locks")),
    "probe": ("env.probe.command", _("the facts of this machine, or of a captured one")),
    "capture": ("env.capture", _("all that the probe looks at, in a file, without secrets")),
    "aarch64": ("env.aarch64", _("audit, setup and level 1 on aarch64, by user-mode emulation")),
    "memory": ("model.memory", _("what a checkpoint takes of a device's memory at least")),
    "audit": ("env.audit.command", _("what is wrong with this machine, why, and how to fix it")),
    "codes-check": ("env.codes_check", _("which of the vendor's codes the doctor's table does not list")),
    "compat-check": ("env.audit.compat_check", _("where compat.toml differs from the vendor's published tables")),
}


def usage() -> str:
    """The commands, in the user's language."""
    lines = [f"  {name:<12} {translate(summary)}" for name, (_module, summary) in COMMANDS.items()]
    head, foot = _("usage: python -m env COMMAND ..."), _("python -m env COMMAND --help tells more.")
    return "\n".join((translate(head), "", *lines, "", translate(foot)))


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Raises:
        UsageError: there is no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        speak(argv)
        print(usage())
        return 0 if argv else UsageError.exit_code
    if argv[0] not in COMMANDS:
        raise UsageError(
            _("no command {name}", name=repr(argv[0])),
            why=_("known: {names}", names=", ".join(COMMANDS)),
            next="python -m env --help",
        )
    module, _summary = COMMANDS[argv[0]]
    code: int = import_module(module).main(argv[1:])
    return code


if __name__ == "__main__":
    interrupt_once()  # what was begun is ended and recorded
    run_main(lambda: main(sys.argv[1:]))
