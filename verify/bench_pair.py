"""`python -m verify.bench_pair`: time two sides in turn, a process each, and compare them.

Runs of one side in a row share the machine's weather: of A..A then B..B 10 to 32 % were called different where both
were the same program, of A B A B none. So the tool orders them, and with both sides left the same it measures the
machine's own band (`compare --band`).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from env.arguments import Parser, at_least
from env.errors import UsageError, VerificationIncompleteError, run_main
from env.language import _, translate
from env.stack import ROOT
from verify.report import compare
from verify.report.comparison import Comparison
from verify.report.statistics import ENOUGH

PAIRS = 6  # by Holm six figures of 924 splits: the least adjusted p is 0.013
CHECK = "benchmark"


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m verify.bench_pair",
        description=_("Time two sides in turn, A B A B, and compare them."),
        epilog=_("exit codes: 0 compared; 2 an option that makes no sense; 31 a run left no times"),
    )
    parser.add_argument("--a", metavar="OPTIONS", default="", help=_("options of verify for side A, quoted"))
    parser.add_argument("--b", metavar="OPTIONS", default="", help=_("the same for side B"))
    parser.add_argument("--python-a", metavar="PATH", default=sys.executable, help=_("the interpreter of side A"))
    parser.add_argument("--python-b", metavar="PATH", default=sys.executable, help=_("the interpreter of side B"))
    parser.add_argument("--pairs", metavar="N", type=at_least(1), default=PAIRS, help=_("runs a side"))
    parser.add_argument("--check", metavar="NAME", action="append", default=[], help=_("one more check to run"))
    parser.add_argument(
        "--output", metavar="DIR", help=_("where the runs and compare.* go (default: results/pair-TIME)")
    )
    return parser


def command(python: str, options: str, checks: Sequence[str], folder: Path) -> list[str]:
    """The command line of one run.

    Raises:
        UsageError: the options cannot be split, or name a run of their own.
    """
    try:
        own = shlex.split(options)
    except ValueError as error:
        raise UsageError(_("{options} cannot be read: {why}", options=options, why=str(error))) from error
    if any(word.partition("=")[0] in ("--run", "--results", "--check") for word in own):
        raise UsageError(_("--run, --results and --check are bench-pair's own"))
    chosen = [part for check in (CHECK, *checks) for part in ("--check", check)]
    return [python, "-m", "verify", *own, *chosen, "--results", str(folder.parent), "--run", folder.name]


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    output = Path(options.output or ROOT / "results" / time.strftime("pair-%Y%m%dT%H%M%SZ", time.gmtime())).resolve()
    sides = {"a": (options.python_a, options.a), "b": (options.python_b, options.b)}
    commands = [
        (name, command(python, words, options.check, output / name / f"{pair:02d}"))
        for pair in range(1, options.pairs + 1)
        for name, (python, words) in sides.items()
    ]
    if options.pairs < ENOUGH:
        print(translate(_("fewer than {n} runs a side: times are shown, and nothing can be told", n=ENOUGH)))
    for place, (name, argv) in enumerate(commands, start=1):
        print(f"[{place}/{len(commands)}] {name}: {shlex.join(argv)}", flush=True)
        subprocess.run(
            argv, cwd=ROOT, stdout=subprocess.DEVNULL, check=False
        )  # its verdict is of one check: incomplete
        if not (output / name / argv[-1] / "records" / f"{CHECK}.json").exists():
            raise VerificationIncompleteError(
                _("a run of side {side} left no times", side=name.upper()), next=shlex.join(argv)
            )
    comparison = Comparison(*(compare.side([str(output / name)], str(output)) for name in sides), {})
    for path in compare.write(comparison, output):
        print(path)
    for line in compare.lines(comparison):
        print(line)
    return 0


if __name__ == "__main__":
    run_main(main)
