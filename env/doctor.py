"""Find the known failures in a log of any size, or in a folder of them: cause, how to confirm it, fix, source.

Rows of failures.toml come first, most fundamental first; then the vendor's codes that no row explains, innermost layer
first; what only repeats another error stands last.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from env import elsewhere
from env.arguments import Parser
from env.codes import Code, CodeScanner
from env.errors import InputError
from env.failures import Failure, load_failures
from env.language import Message, _, translate
from env.log_search import Readable, first_lines
from env.plog import ErrorScanner, FirstError, earliest, in_file, logs_of, time_of

NOTHING_FOUND = 3  # exit code of `python -m env doctor`
MOST_PROCESSES = 20  # whose first errors are shown


@dataclass(frozen=True)
class Diagnosis:
    """A known failure in a log: the line (from 1) that shows it first, and that line's text, shortened.

    `code` is set where no row knows the failure, and the vendor's code is all that is known of it.
    """

    failure: Failure
    line: int
    text: str
    file: str = ""
    code: Code | None = None

    def as_dict(self) -> dict[str, object]:
        """The fixed JSON interface of `python -m env doctor --json`; of a folder's logs, `file` too."""
        fields = {"id": self.failure.id, "line": self.line, "cause": self.failure.cause, "fix": self.failure.fix}
        return {**fields, "file": self.file} if self.file else fields


def diagnose(log: str | Iterable[str]) -> list[Diagnosis]:
    """The known failures of a log held in memory, as text or as lines; most fundamental first."""
    text = log if isinstance(log, str) else "\n".join(line.rstrip("\r\n") for line in log)
    return scan(io.BytesIO(text.encode("utf-8", "replace")))


def scan(stream: Readable) -> list[Diagnosis]:
    """The known failures of a log read to its end in constant memory; most fundamental first."""
    return _examine(stream)[0]


def _examine(stream: Readable) -> tuple[list[Diagnosis], list[FirstError]]:
    catalogue, codes, errors = load_failures(), CodeScanner(), ErrorScanner()
    hits = first_lines(stream, {failure.id: failure.signs for failure in catalogue}, (codes, errors))
    for failure in catalogue:
        seen = [hits[failure.id]] if failure.id in hits else []
        seen += [each.hit for each in codes.hits.values() if each.code.number and each.code.text in failure.codes]
        if seen:
            hits[failure.id] = min(seen)
    known = [Diagnosis(failure, *hits[failure.id]) for failure in catalogue if failure.id in hits]
    known += [Diagnosis(_of_code(each.code), *each.hit, code=each.code) for each in codes.hits.values()]
    return ranked(known), list(errors.first.values())


def _of_code(code: Code) -> Failure:
    return Failure(
        id=code.text if len(code.text) > 3 else code.full_name,
        component=code.layer.name,
        cause=code.meaning,
        confirm=Message(""),
        fix=code.layer.look,
        source=code.layer.source,
        echo=code.echo,
    )


def ranked(known: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Causes before echoes, rows before bare codes, inner before outer; codes that a row explains are left out."""
    order = {failure.id: rank for rank, failure in enumerate(load_failures())}
    covered = {code for each in known if each.code is None for code in each.failure.covers}

    def rank(each: Diagnosis) -> tuple[bool, bool, int, int]:
        depth = each.code.layer.depth if each.code else order[each.failure.id]
        return each.failure.echo, each.code is not None, depth, each.line

    kept = [each for each in known if not (each.code and covered & {each.code.text, each.code.full_name})]
    return sorted(kept, key=rank)


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env doctor",
        description=_("Find the known failures in a log: cause, how to confirm it, fix, source; inner causes first."),
        epilog=_("Exit status: 0 something was found, {code} nothing was.", code=NOTHING_FOUND),
    )
    parser.add_argument("file", help=_('the log, plain or gzipped, a folder of logs (plog), or "-" for standard input'))
    parser.add_argument("--json", action="store_true", help=_("print id, line, cause and fix of each as JSON"))
    arguments = parser.parse_args(argv)
    folder = arguments.file != "-" and os.path.isdir(arguments.file)  # noqa: PTH112 (False of what no file can be named)
    diagnoses, errors = _scan_folder(Path(arguments.file)) if folder else _scan_file(arguments.file)
    if arguments.json:
        print(json.dumps([diagnosis.as_dict() for diagnosis in diagnoses], ensure_ascii=False, indent=2))
    else:
        print("\n\n".join(translate(part) for part in page(diagnoses, errors if folder or not diagnoses else [])))
    return 0 if diagnoses else NOTHING_FOUND


def page(diagnoses: Sequence[Diagnosis], errors: Sequence[FirstError]) -> Iterator[Message]:
    """What is known, each in full; echoes in one line each where there is a cause; the first errors of processes."""
    causes = [each for each in diagnoses if not (each.code and each.failure.echo)] or list(diagnoses)
    yield from map(describe, causes)
    echoes = [each for each in diagnoses if each not in causes]
    if echoes:
        yield _("beside it, as what was made of it:\n{lines}", lines=_lines([_briefly(each) for each in echoes]))
    if not diagnoses:
        yield _("no known failure in this log")
    if errors:
        shown = [
            _(
                "  {time} {name} ({process}), {place}\n    {text}",
                time=error.time,
                name=error.name,
                process=error.process,
                place=_place(error.file, error.line),
                text=error.text,
            )
            for error in errors[:MOST_PROCESSES]
        ]
        yield _("the first error of each process, {n} in all:\n{lines}", n=len(errors), lines=_lines(shown))


def _briefly(diagnosis: Diagnosis) -> Message:
    place = _place(diagnosis.file, diagnosis.line)
    return _("  {code}, {place}: {meaning}", code=diagnosis.failure.id, place=place, meaning=diagnosis.failure.cause)


def _lines(messages: Sequence[Message]) -> Message:
    fields = {f"part{number}": message for number, message in enumerate(messages)}
    return Message("\n".join(f"{{{name}}}" for name in fields), **fields)


def _place(file: str, line: int) -> Message:
    return _("{file}, line {line}", file=file, line=line) if file else _("line {line}", line=line)


def describe(diagnosis: Diagnosis) -> Message:
    """A diagnosis in full, for people."""
    failure = diagnosis.failure
    fields = {
        "above": _(
            "{failure} ({component}), {place}\n  seen:    {text}",
            failure=failure.id,
            component=failure.component,
            place=_place(diagnosis.file, diagnosis.line),
            text=diagnosis.text,
        ),
        "cause": failure.cause,
        "fix": failure.fix,
        "source": failure.source,
    }
    if diagnosis.code is not None:
        return _("{above}\n  means:   {cause}\n  look at: {fix}\n  source:  {source}", **fields)
    fields["confirm"] = failure.confirm
    if failure.open:
        return _(
            "{above}\n  seen with: {cause}\n  confirm: {confirm}\n  try:     {fix}\n  source:  {source}",
            **fields,
        )
    if failure.loose:
        return _(
            "{above}\n  likely:  {cause}\n  confirm: {confirm}\n  fix:     {fix}\n  source:  {source}",
            **fields,
        )
    return _(
        "{above}\n  cause:   {cause}\n  confirm: {confirm}\n  fix:     {fix}\n  source:  {source}",
        **fields,
    )


def _scan_folder(folder: Path) -> tuple[list[Diagnosis], list[FirstError]]:
    """Every log of a folder as one: each failure where it came first in time, the first error of each process.

    Raises:
        InputError: there is no log, or none can be read.
    """
    first: dict[str, tuple[str, Diagnosis]] = {}
    errors: list[FirstError] = []
    files = logs_of(folder)
    if not files:
        raise InputError(_("no log in {folder}", folder=str(folder)), next=f"ls -R {folder}")
    for path in files:
        name = path.relative_to(folder).as_posix()
        known, of_file = _scan_file(str(path))
        errors += [in_file(error, name) for error in of_file]
        for each in known:
            time = time_of(each.text)
            if each.failure.id not in first or time < first[each.failure.id][0]:
                first[each.failure.id] = time, replace(each, file=name)
    return ranked([each for _time, each in first.values()]), earliest(errors)


def _scan_file(file: str) -> tuple[list[Diagnosis], list[FirstError]]:
    """Scan a file, or standard input for "-".

    Raises:
        InputError: the file cannot be read, or is a damaged gzip.
    """
    try:
        if file == "-":
            return _examine(_decoded(sys.stdin.buffer))
        with elsewhere.opened(file) as stream:
            return _examine(_decoded(stream))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            _("cannot unpack {file}: {error}", file=file, error=str(error)), next=f"gzip -t {file}"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(_("cannot read {file}: {reason}", file=file, reason=reason), next=f"ls -l {file}") from error


def _decoded(stream: BinaryIO) -> Readable:
    """`stream` unpacked if it is gzip, and as UTF-8 if its mark says that it is UTF-16 (as PowerShell redirects)."""
    assert isinstance(stream, io.BufferedReader)  # what open() and sys.stdin.buffer are
    source: io.BufferedReader | gzip.GzipFile = stream
    if source.peek(2)[:2] == b"\x1f\x8b":
        source = gzip.GzipFile(fileobj=source)
    if source.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return codecs.EncodedFile(source, "utf-8", "utf-16", errors="replace")
    return source
