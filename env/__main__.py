"""`python -m env COMMAND`: what the bundle can do about a machine. Each command's module is imported only to run it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from env.errors import UsageError, run_main

# name: (module of its `main(argv) -> exit code`, what it does)
COMMANDS = {
    "npu-smi": ("env.npu_smi_command", "read what npu-smi printed, in any of its layouts"),
    "doctor": ("env.doctor", "find the known failures in a log: cause, check, fix, source"),
    "setup": ("env.setup", "check the machine and build the pinned environment"),
    "wheelhouse": ("env.wheelhouse.collect", "collect the locked wheels for a machine without network"),
    "lock": ("env.lock", "write the hashed locks anew"),
    "bench-setup": ("env.bench_setup", "time our setup beside venv and pip"),
    "bench-doctor": ("env.bench_doctor", "time the doctor on a long log"),
    "probe": ("env.probe.command", "the facts of this machine, or of a captured one"),
    "capture": ("env.capture", "all that the probe looks at, in a file, without secrets"),
    "audit": ("env.audit.command", "what is wrong with this machine, why, and how to fix it"),
}


def usage() -> str:
    lines = [f"  {name:<12} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(("usage: python -m env COMMAND ...", "", *lines, "", "python -m env COMMAND --help tells more."))


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Raises:
        UsageError: there is no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else UsageError.exit_code
    if argv[0] not in COMMANDS:
        raise UsageError(f"no command {argv[0]!r}", why=f"known: {', '.join(COMMANDS)}", next="python -m env --help")
    module, _ = COMMANDS[argv[0]]
    code: int = import_module(module).main(argv[1:])
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is ended and recorded
    run_main(lambda: main(sys.argv[1:]))
