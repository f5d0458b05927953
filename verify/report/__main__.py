"""`python -m verify.report`: render a run's documents from its records, on any machine, without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from env.arguments import Parser
from env.errors import RecordError, run_main
from env.language import _, translate, user_language
from env.options import RESULTS, SETUP_FILE, main_job_parser, run_folder
from env.stack import ROOT
from verify.report.campaign import attach, attached
from verify.run.cards import CARDS_FILE, evidence_of, machine, read_cards
from verify.run.records import RUN_FILE, read_evidence
from verify.run.verdict import exit_code, judge


def latest_run(results: Path) -> Path:
    """The newest run in `results`: run ids start with their UTC time, so the last by name.

    Raises:
        RecordError: no run is there.
    """
    runs = [path.parent for name in (RUN_FILE, SETUP_FILE, CARDS_FILE) for path in results.glob(f"*/{name}")]
    if not runs:
        raise RecordError(
            _("no run in {results}", results=str(results)),
            why=_("nothing was set up or verified yet"),
            next="nox -s setup verify",
        )
    return max(runs, key=lambda folder: folder.name)


def make_parser() -> Parser:
    parser = main_job_parser(
        "python -m verify.report",
        _("Render report.*.md, evidence.*.md and report.html from the records of a run."),
        own=("run", "report"),
        epilog=_(
            "exit codes: 0 rendered; 14 the documents cannot be written; 32 no records, or no usable FILE;\n"
            "with --strict also 30 verification failed, 31 not verified or incomplete"
        ),
    )
    parser.set_defaults(results=str(ROOT / str(RESULTS.settings["default"])))  # rendered from any folder
    return parser


def report_cards(folder: Path, output: Path, *, strict: bool) -> int:
    """Render the documents of every card of a machine, each in its own folder, and the one that compares them."""
    from verify.report.cards import write_comparison
    from verify.report.documents import write_documents

    cards = read_cards(folder)
    for label, evidence in evidence_of(folder, cards):
        if evidence.run is not None:
            write_documents(evidence, output / cards.cards[label])
    for path in write_comparison(folder, cards, output):
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
    word, line = machine(folder, cards)
    print(translate(line))
    return exit_code(word) if strict else 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    from verify.report.documents import write_documents  # jinja2: not for --help

    folder = run_folder(options.results, options.run) if options.run else latest_run(Path(options.results))
    if (folder / CARDS_FILE).exists():
        return report_cards(folder, Path(options.output) if options.output else folder, strict=options.strict)
    evidence = read_evidence(folder)
    if options.campaign:
        attach(Path(options.campaign), folder)
    output = Path(options.output) if options.output else folder
    for path in write_documents(evidence, output, attached(folder)):
        print(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
    verdict = judge(evidence)
    print(verdict.line(user_language()))
    return verdict.exit_code if options.strict else 0


if __name__ == "__main__":
    run_main(main)
