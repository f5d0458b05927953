"""Find the known failures in a log of any size, most fundamental first: cause, how to confirm it, fix, source."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from env import elsewhere
from env.arguments import Parser
from env.errors import InputError
from env.failures import Failure, load_failures
from env.language import Message, _, translate
from env.log_search import Readable, first_lines

NOTHING_FOUND = 3  # exit code of `python -m env doctor`


@dataclass(frozen=True)
class Diagnosis:
    """A known failure in a log: the line (from 1) that shows it first, and that line's text, shortened."""

    failure: Failure
    line: int
    text: str

    def as_dict(self) -> dict[str, object]:
        """The fixed JSON interface of `python -m env doctor --json`."""
        return {"id": self.failure.id, "line": self.line, "cause": self.failure.cause, "fix": self.failure.fix}


def diagnose(log: str | Iterable[str]) -> list[Diagnosis]:
    """The known failures of a log held in memory, as text or as lines; most fundamental first."""
    text = log if isinstance(log, str) else "\n".join(line.rstrip("\r\n") for line in log)
    return scan(io.BytesIO(text.encode("utf-8", "replace")))


def scan(stream: Readable) -> list[Diagnosis]:
    """The known failures of a log read to its end in constant memory; most fundamental first."""
    catalogue = load_failures()
    hits = first_lines(stream, {failure.id: failure.signs for failure in catalogue})
    known = ((failure, hits[failure.id]) for failure in catalogue if failure.id in hits)
    return [Diagnosis(failure, hit.line, hit.text) for failure, hit in known]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env doctor",
        description=_("Find the known failures in a log: cause, how to confirm it, fix, source; inner causes first."),
        epilog=_("Exit status: 0 something was found, {code} nothing was.", code=NOTHING_FOUND),
    )
    parser.add_argument("file", help=_('the log, plain or gzipped, or "-" for standard input'))
    parser.add_argument("--json", action="store_true", help=_("print id, line, cause and fix of each as JSON"))
    arguments = parser.parse_args(argv)
    diagnoses = _scan_file(arguments.file)
    if arguments.json:
        print(json.dumps([diagnosis.as_dict() for diagnosis in diagnoses], ensure_ascii=False, indent=2))
    elif diagnoses:
        print("\n\n".join(translate(describe(diagnosis)) for diagnosis in diagnoses))
    else:
        print(translate(_("no known failure in this log")))
    return 0 if diagnoses else NOTHING_FOUND


def describe(diagnosis: Diagnosis) -> Message:
    """A diagnosis in full, for people."""
    failure = diagnosis.failure
    above = _(
        "{failure} ({component}), line {line}\n  seen:    {text}",
        failure=failure.id,
        component=failure.component,
        line=diagnosis.line,
        text=diagnosis.text,
    )
    remedy = {"above": above, "cause": failure.cause, "confirm": failure.confirm, "fix": failure.fix}
    if failure.loose:
        return _(
            "{above}\n  likely:  {cause}\n  confirm: {confirm}\n  fix:     {fix}\n  source:  {source}",
            source=failure.source,
            **remedy,
        )
    return _(
        "{above}\n  cause:   {cause}\n  confirm: {confirm}\n  fix:     {fix}\n  source:  {source}",
        source=failure.source,
        **remedy,
    )


def _scan_file(file: str) -> list[Diagnosis]:
    """Scan a file, or standard input for "-".

    Raises:
        InputError: the file cannot be read, or is a damaged gzip.
    """
    try:
        if file == "-":
            return scan(_decoded(sys.stdin.buffer))
        with elsewhere.opened(file) as stream:
            return scan(_decoded(stream))
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
