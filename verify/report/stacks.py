"""`python -m verify.report.stacks FOLDER FOLDER...`: the same verification on several stacks, side by side.

Made by `nox -s stacks`, on one machine: a row a check, then what is the same and what is not. Texts and tokens are
compared whole; the values of the bundled checkpoint, in float64 on the CPU, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from env.arguments import Parser
from env.errors import RecordError, VerificationFailedError, run_main
from env.language import Message, _, translate, user_language
from verify.run import plan
from verify.run.records import Evidence, read_evidence
from verify.run.text import one_line
from verify.run.verdict import judge

WIDEST = 60  # columns of a cell


def stack_of(evidence: Evidence) -> str:
    """The stack that a run is of, "declared" where it is the declared one."""
    data = (evidence.setup or {}).get("data") or {}
    return _shown(str(data.get("stack") or "declared"))


def _shown(cell: str) -> str:
    """A cell on one line: every row of a table is as wide as its widest."""
    text = one_line(cell[: 10 * WIDEST])  # it may be megabytes
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def packages_of(evidence: Evidence) -> Mapping[str, str]:
    data = (evidence.setup or {}).get("data") or {}
    packages = data.get("packages")
    return packages if isinstance(packages, Mapping) else {}


def data_of(evidence: Evidence, check: str) -> Mapping[str, Any]:
    return evidence.records[check].data if check in evidence.records else {}


def table(runs: Sequence[Evidence]) -> Iterator[Sequence[str]]:
    """The stacks, the packages in which they differ, how each check ended, and the verdicts."""
    yield ["", *map(stack_of, runs)]
    names = sorted({name for run in runs for name in packages_of(run)}, key=str.lower)
    for name in names:
        versions = [packages_of(run).get(name, "-") for run in runs]
        if len(set(versions)) > 1:
            yield [name, *versions]
    for check in plan.CHECKS:
        ended = [run.status(check.name).value for run in runs]
        if any(check.name in run.records for run in runs):
            yield [check.name, *ended]
    yield [translate(_("verdict")), *(translate(judge(run).word.value) for run in runs)]


def texts(run: Evidence) -> dict[str, str | None]:
    """What was recognised of each clip, by the clip and the language that it was translated into."""
    rows = data_of(run, "speech").get("transcripts") or []
    return {f"{row.get('clip')} {row.get('target') or ''}".strip(): row.get("hypothesis") for row in rows}


def bits(run: Evidence) -> Mapping[str, str]:
    kept = data_of(run, "definition").get("bundled")
    values = kept.get("bits") if isinstance(kept, Mapping) else None
    return values if isinstance(values, Mapping) else {}


def differences(first: Evidence, other: Evidence) -> tuple[list[Message], bool]:
    """What of the first run the other has as well, and what not; and whether anything is another."""
    names = {"first": stack_of(first), "other": stack_of(other)}
    lines: list[Message] = []
    same = True
    for what, ours, theirs in (
        (_("texts of the bundled clips"), texts(first), texts(other)),
        (_("values of the bundled checkpoint, bit for bit"), bits(first), bits(other)),
    ):
        keys = [key for key in ours if key in theirs]
        differing = [key for key in keys if ours[key] != theirs[key]]
        if not keys:
            lines.append(_("{what}: {first} and {other} have none in common", what=what, **names))
            same = False
        elif differing:
            shown = ", ".join(map(_shown, differing[:5]))
            lines.append(
                _("{what}: {n} of {total} differ between {first} and {other}: {shown}", what=what, n=len(differing),
                  total=len(keys), shown=shown, **names)
            )  # fmt: skip
            same = False
        else:
            lines.append(_("{what}: all {total} of {other} are those of {first}", what=what, total=len(keys), **names))
    return lines, same


def show(rows: Sequence[Sequence[str]]) -> None:
    rows = [[_shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m verify.report.stacks",
        description=_("Show the same verification on several stacks side by side."),
        epilog=_("exit codes: 0 all verified and the same; 30 one is not, or something differs; 32 no records"),
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="FOLDER", help=_("folders of runs; all are compared with the first")
    )
    folders = parser.parse_args(argv).runs
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        raise RecordError(_("no run in {results}", results=str(absent[0])), next="nox -s stacks")
    runs = [read_evidence(folder) for folder in folders]
    show(list(table(runs)))
    alike = True
    for run in runs[1:]:
        lines, same = differences(runs[0], run)
        alike = alike and same
        for line in lines:
            print(translate(line))
    for run in runs:
        print(f"{stack_of(run)}: {judge(run).line(user_language())}")
    return 0 if alike and all(judge(run).exit_code == 0 for run in runs) else VerificationFailedError.exit_code


if __name__ == "__main__":
    run_main(main)
