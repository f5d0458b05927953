"""`python -m verify.report.compare RUN_A RUN_B`: two runs, or two sides of several, beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from env import elsewhere
from env.arguments import Parser
from env.atomic import write_text
from env.errors import RecordError, UsageError, VerificationFailedError, run_main
from env.language import LANGUAGES, Message, _, translate
from env.options import RESULTS, SETUP_FILE, place, run_folder
from env.stack import ROOT
from verify.report.comparison import Comparison, Side
from verify.report.side_plots import SidePlots
from verify.report.statistics import ENOUGH, Word
from verify.run.records import RUN_FILE, read_evidence

FAIL_ON = ("slower", "differs", "checks", "any", "never")
OUTPUT = "compare"  # .zh.md, .en.md, .json, .html


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m verify.report.compare",
        description=_("Hold two runs, or two sides of several, beside each other."),
        epilog=_("exit codes: 0 compared; 2 no two sides; 30 what --fail-on names; 32 no records"),
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=place,
        help=_("side A then side B: two runs, or two folders that hold several; else all of A, and B by --against"),
    )
    parser.add_argument("--against", nargs="+", metavar="RUN", type=place, default=[], help=_("the runs of side B"))
    parser.add_argument("--results", metavar="DIR", type=place, default=str(ROOT / str(RESULTS.settings["default"])))
    parser.add_argument(
        "--band",
        metavar="FILE",
        type=place,
        help=_("bands of this machine by figure (JSON: a comparison of the same program with itself)"),
    )
    parser.add_argument("--fail-on", choices=FAIL_ON, default="never", help=_("what ends with exit code 30"))
    parser.add_argument("--output", metavar="DIR", type=place, default=".", help=_("where compare.* is written"))
    return parser


def side(runs: Sequence[str], results: str) -> Side:
    """The runs of a side: each a run, or a folder of runs.

    Raises:
        RecordError: one is neither.
    """
    folders = [folder for run in runs for folder in _folders(run_folder(results, run))]
    return Side([(folder.name, read_evidence(folder)) for folder in folders])


def _folders(folder: Path) -> list[Path]:
    if (folder / RUN_FILE).exists() or (folder / SETUP_FILE).exists():
        return [folder]
    inner = sorted({path.parent for path in folder.glob(f"*/{RUN_FILE}")})
    return inner or [folder]


def bands_of(file: str | None) -> dict[str, float]:
    """The bands of a machine: from compare.json of a program compared with itself, how far its figures moved.

    Raises:
        RecordError: the file cannot be read, or is none.
    """
    if file is None:
        return {}
    try:
        changes = elsewhere.read_json(file, "settings")["changes"]
        return {str(change["name"]): float(change["band"]) for change in changes}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(_("{file} holds no bands", file=file), why=str(error), next="nox -s bench-pair") from error


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything of a comparison, for programs."""
    names = ("incomparable", "conditions", "changes", "floors", "layers", "results", "texts")
    return {
        "schema": 1,
        "first": [name for name, _ in comparison.first.runs],
        "second": [name for name, _ in comparison.second.runs],
        **{name: msgspec.to_builtins(getattr(comparison, name)) for name in names},
        "checks": [{"check": name, "first": one, "second": other} for name, one, other in comparison.checks],
        "alarms": comparison.alarms(),
    }


def context_of(comparison: Comparison) -> Mapping[str, Any]:
    """What the templates of a comparison read."""
    return {"comparison": comparison, "plots": SidePlots(comparison), "enough": ENOUGH, "listed_rows": 60}


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the comparison in every form; the same runs give the same bytes.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    from verify.report.html import page_of
    from verify.report.render import rendered

    context = context_of(comparison)
    texts = {f"{OUTPUT}.{language}.md": rendered("compare.md.j2", language, context) for language in LANGUAGES}
    texts[f"{OUTPUT}.html"] = page_of("html/compare.html.j2", context, headline="A / B")
    texts[f"{OUTPUT}.json"] = json.dumps(as_json(comparison), ensure_ascii=False, indent=2, default=str) + "\n"
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def lines(comparison: Comparison) -> Iterator[str]:
    """What a terminal shows of a comparison."""
    if comparison.incomparable:
        names = ", ".join(difference.name for difference in comparison.incomparable)
        yield translate(_("not comparable: {names}", names=names))
    else:
        for change in comparison.changes:
            if change.word is Word.SAME:
                yield translate(_("{figure}: the same within {band:.1%}", figure=change.name, band=change.band))
            else:
                yield translate(_("{figure}: {word}", figure=change.name, word=Message(change.word.value)))
    for moved in comparison.layers:
        yield translate(_("layer {name}: error moved", name=moved.name))


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    first, second = (options.runs, options.against) if options.against else (options.runs[:1], options.runs[1:])
    if not second:
        raise UsageError(_("one side alone cannot be compared"), next="nox -s compare -- RUN_A RUN_B")
    comparison = Comparison(side(first, options.results), side(second, options.results), bands_of(options.band))
    for path in write(comparison, Path(options.output)):
        print(path)
    for line in lines(comparison):
        print(line)
    alarms = comparison.alarms()
    worse = any(alarms.values()) if options.fail_on == "any" else alarms.get(options.fail_on, False)
    return VerificationFailedError.exit_code if worse else 0


if __name__ == "__main__":
    run_main(main)
