"""`python -m verify.report.export --run RUN`: a run in the formats that others take."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from env.arguments import Parser
from env.atomic import write_text
from env.errors import UsageError, VerificationIncompleteError, run_main
from env.language import _, translate
from env.options import RESULTS, place, run_folder
from env.stack import ROOT
from verify.report.export import attestation, hub, junit, sbom, text
from verify.report.export.run import Exported, RefusedError

GITHUB = "GITHUB_STEP_SUMMARY"  # the file that a runner shows


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m verify.report.export",
        description=_("Write a run in the formats that others take."),
        epilog=_("exit codes: 0 written; 2 an option that makes no sense; 31 a named format is refused; 32 no records"),
    )
    parser.add_argument("--run", metavar="RUN", type=place, required=True, help=_("a run's id or folder"))
    parser.add_argument("--results", metavar="DIR", type=place, default=str(ROOT / str(RESULTS.settings["default"])))
    parser.add_argument(
        "--format",
        action="append",
        choices=tuple(FORMATS),
        default=[],
        help=_("one format (repeatable; default: all that the run may be published in)"),
    )
    parser.add_argument(
        "--output", metavar="DIR", type=place, help=_("where to (default: export/ in the run's folder)")
    )
    parser.add_argument("--environment", metavar="DIR", type=place, help=_("the environment whose licences are read"))
    hub_options = parser.add_argument_group(_("a benchmark of the Hub"))
    hub_options.add_argument("--dataset", metavar="ID", help=_("its data set, as the Hub names it"))
    hub_options.add_argument("--task", metavar="ID", help=_("its task, as the data set's eval.yaml names it"))
    hub_options.add_argument("--dataset-revision", metavar="SHA", help=_("the commit of the data set"))
    hub_options.add_argument("--source-url", metavar="URL", help=_("where the evaluation can be read"))
    return parser


class Wanted:
    """The options that single formats need."""

    def __init__(self, benchmark: hub.Benchmark | None, environment: str | None) -> None:
        self.benchmark = benchmark
        self.environment = environment

    @property
    def site_packages(self) -> Path | None:
        base = Path(self.environment) if self.environment else None
        return next(iter(sorted(base.glob("lib/python*/site-packages"))), base) if base else None


Write = Callable[[Exported, Wanted], str]
FORMATS: Mapping[str, tuple[str, Write]] = {
    "junit": ("junit.xml", lambda run, _wanted: junit.text(run)),
    "github-summary": ("summary.md", lambda run, _wanted: text.summary(run)),
    "csv": ("figures.csv", lambda run, _wanted: text.table(run)),
    "sbom": ("sbom.cdx.json", lambda run, wanted: sbom.text(run, wanted.site_packages)),
    "attestation": (attestation.FILE, lambda run, _wanted: attestation.text(run)),
    "eval-results": ("eval_results.yaml", lambda run, wanted: hub.evaluation_results(run, wanted.benchmark)),
    "model-index": ("model-index.json", lambda run, _wanted: json.dumps(hub.model_index(run), indent=2) + "\n"),
    "model-card": ("README.model-card.md", lambda run, _wanted: hub.card(run)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    if (options.dataset is None) != (options.task is None):
        raise UsageError(_("--dataset and --task belong together"))
    benchmark = (
        hub.Benchmark(options.dataset, options.task, options.dataset_revision, options.source_url)
        if options.dataset
        else None
    )
    run = Exported.read(run_folder(options.results, options.run))
    output = Path(options.output) if options.output else run.folder / "export"
    wanted = Wanted(benchmark, options.environment)
    refused: dict[str, RefusedError] = {}
    for name in dict.fromkeys(options.format or FORMATS):
        file, write = FORMATS[name]
        try:
            content = write(run, wanted)
        except RefusedError as error:
            refused[name] = error
            (output / file).unlink(missing_ok=True)  # of another run, or of this one before a check was run again
            print(translate(_("{format}: refused: {why}", format=name, why=error.why)))
            continue
        write_text(output / file, content)
        print(output / file)
        if name == "attestation":
            print(translate(attestation.signing(str(output / file))))
        if name == "github-summary" and os.environ.get(GITHUB):
            with Path(os.environ[GITHUB]).open("a", encoding="utf-8") as file_of_runner:
                file_of_runner.write(content)
    named = [name for name in options.format if name in refused]
    if named:
        raise VerificationIncompleteError(
            _("{format} cannot be published of this run", format=", ".join(named)), why=refused[named[0]].why
        )
    return 0


if __name__ == "__main__":
    run_main(main)
