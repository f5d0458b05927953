"""`python -m verify.report`: render a run's documents from its records, on any machine, without torch."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from env.errors import RecordError, run_main
from env.options import SETUP_FILE, run_folder
from verify.options import add_appendix_option
from verify.report.campaign import attach, attached
from verify.run.records import RUN_FILE, read_evidence
from verify.run.verdict import judge

RESULTS = Path(__file__).resolve().parents[2] / "results"


def latest_run(results: Path) -> Path:
    """The newest run in `results`: run ids start with their UTC time, so the last by name.

    Raises:
        RecordError: no run is there.
    """
    found = [path.parent for name in (RUN_FILE, SETUP_FILE) for path in results.glob(f"*/{name}")]
    if not found:
        raise RecordError(f"no run in {results}", why="nothing was set up or verified yet", next="nox -s setup verify")
    return max(found, key=lambda folder: folder.name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify.report",
        description="Render report.zh.md and report.en.md from the records of a run.",
        epilog="exit codes: 0 rendered; 14 the documents cannot be written; 32 no records, or no usable FILE; "
        "with --strict also 30 verification failed, 31 not verified or incomplete",
    )
    parser.add_argument("--run", metavar="RUN", help="a run's id or folder (default: the newest in --results)")
    parser.add_argument("--results", type=Path, metavar="DIR", default=RESULTS, help="the folder of runs")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: the run's folder)")
    parser.add_argument("--strict", action="store_true", help="exit with the verdict's code")
    add_appendix_option(parser)
    options = parser.parse_args(arguments)
    from verify.report.render import write_documents  # jinja2: not for --help

    folder = run_folder(str(options.results), options.run) if options.run else latest_run(options.results)
    evidence = read_evidence(folder)
    if options.campaign:
        attach(Path(options.campaign), folder)
    for path in write_documents(evidence, options.output or folder, attached(folder)):
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
    verdict = judge(evidence)
    print(verdict.line())
    return verdict.exit_code if options.strict else 0


if __name__ == "__main__":
    run_main(main)
