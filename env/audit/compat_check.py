"""`python -m env compat-check FILE...`: where compat.toml differs from tables that the vendor has published since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from packaging.version import Version

from env import elsewhere
from env.arguments import Parser
from env.audit.compat import Compat, load_compat
from env.audit.published import Package, Pythons, Statement, statements
from env.audit.verdict import Evidence, Verdict, decide, names, over_series
from env.errors import InputError
from env.language import Message, _, translate
from env.versions import public

DIFFERS = 3  # exit codes of `python -m env compat-check`
NOTHING_COMPARED = 4
OLDEST_TORCH = Version("2.0")  # packages for torch 1.x are not kept: this model needs a later one
FROM_WHEELS = "the published wheels themselves"  # beginning of a source: what the wheels are for decides over any table


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env compat-check",
        description=_("Compare compat.toml with the vendor's published version tables: Markdown or HTML files."),
        epilog=_(
            "Exit status: 0 nothing differs, {differs} something does, {nothing} no table to compare.",
            differs=DIFFERS,
            nothing=NOTHING_COMPARED,
        ),
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help=_("release notes or a README that were saved as a file")
    )
    compared = differing = 0
    for path in parser.parse_args(argv).files:
        published = read(path)
        compared += len(published)
        if not published:
            print(translate(_("{path}: no version table that can be compared", path=path)))
        for difference in dict.fromkeys(differences(published, load_compat())):
            differing += 1
            print(translate(_("{path}: {difference}", path=path, difference=difference)))
    print(translate(_("{compared} statements compared, {differing} differ", compared=compared, differing=differing)))
    if differing:
        return DIFFERS
    return 0 if compared else NOTHING_COMPARED


def read(path: str) -> list[Statement]:
    """What a file's version tables say. It is only read, and only where it is a regular file of a page's size.

    Raises:
        InputError: it cannot be read, is no regular file, or is too large.
    """
    try:
        data = elsewhere.read_bytes(path, "page")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(_("cannot read {path}: {reason}", path=path, reason=reason)) from error
    try:
        return statements(data.decode("utf-8", "replace"))
    except ValueError as error:
        raise InputError(_("cannot read {path}: {reason}", path=path, reason=str(error))) from error


def differences(published: Sequence[Statement], compat: Compat) -> Iterator[Message]:
    """Where the table says something else than `published`, or nothing."""
    for statement in published:
        if isinstance(statement, Package):
            yield from _package(statement, compat)
        elif isinstance(statement, Pythons):
            yield from _torch_pythons(statement, compat)
        elif statement.kind == "line":
            verdict = _line_verdict(statement.version, statement.other, compat)
            yield from _pairing(
                _("TorchNPU {line} with CANN {cann}", line=statement.version, cann=statement.other),
                statement.works,
                verdict,
            )
        else:
            verdict = compat.driver_verdict(statement.other, statement.version)
            yield from _pairing(
                _("CANN {cann} with driver {driver}", cann=statement.version, driver=statement.other),
                statement.works,
                verdict,
            )


def _line_verdict(line: str, cann: str, compat: Compat) -> Verdict:
    """What the matrix says of a TorchNPU release, or a series of them, and CANN."""
    rows = [
        Evidence(row.cann, row.no, row.confidence, row.source)
        for row in compat.matrix
        if any(names(entry, line) for entry in row.line)
    ]
    return over_series(cann, compat.cann_releases, lambda release: decide(release, rows))


def _pairing(what: Message, works: bool, verdict: Verdict) -> Iterator[Message]:
    if verdict.word != ("yes" if works else "no"):
        yield _(
            "{what}: published {published}, here {here}",
            what=what,
            published=_("yes") if works else _("no"),
            here=_shown(verdict),
        )
    elif verdict.confidence != "high":
        yield _("{what}: published, here with evidence {confidence}", what=what, confidence=Message(verdict.confidence))


def _shown(verdict: Verdict) -> Message:
    words = {
        "yes": _("yes"),
        "no": _("no"),
        "older": _("older than all that is listed"),
        "unlisted": _("not listed"),
        "unknown": _("nothing"),
    }
    return words[verdict.word]


def _package(row: Package, compat: Compat) -> Iterator[Message]:
    try:
        if Version(row.torch or row.torch_npu) < OLDEST_TORCH:
            return
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number
        return
    torch_npu = public(row.torch_npu)
    release = compat.release(torch_npu)
    if release is None:
        yield _("torch-npu {torch_npu} (CANN {cann}): published, not here", torch_npu=torch_npu, cann=row.cann)
        return
    stated = {_("torch"): (row.torch, release.torch), _("TorchNPU release"): (row.line, release.line)}
    if row.pythons and not release.source.startswith(FROM_WHEELS):
        stated[_("Pythons")] = (", ".join(row.pythons), ", ".join(release.pythons))
    for part, (published, here) in stated.items():
        if published and published.casefold() != here.casefold():
            yield _(
                "torch-npu {torch_npu}, {part}: published {published}, here {here}",
                torch_npu=torch_npu,
                part=part,
                published=published,
                here=here or _("nothing"),
            )
    yield from _pairing(
        _("torch-npu {torch_npu} with CANN {cann}", torch_npu=torch_npu, cann=row.cann),
        True,
        compat.cann_verdict(torch_npu, row.cann),
    )


def _torch_pythons(row: Pythons, compat: Compat) -> Iterator[Message]:
    """A Python that no package for this torch has, where any package for it is kept."""
    lists = [release.pythons for release in compat.releases if release.torch == row.torch]
    missing = [python for python in row.pythons if lists and not any(python in pythons for pythons in lists)]
    if missing:
        yield _(
            "torch {torch}: published for Python {pythons}, which no package here has",
            torch=row.torch,
            pythons=", ".join(missing),
        )
