"""`python -m env.catalogue`: the Chinese catalogue in step with the messages of code, templates and tables.

    python -m env.catalogue            new messages into the catalogue, stale ones out of it, and compile it
    python -m env.catalogue --check    fail on a message without a translation, a stale one, or fields that differ

Runs in the development environment (Babel); what speaks reads the compiled file with the standard library alone.
"""

from __future__ import annotations

import io
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from env.arguments import Parser
from env.errors import VerificationFailedError, run_main
from env.language import DOMAIN, LOCALE, _, folded
from env.stack import ROOT
from env.toml import loads

CATALOGUE = LOCALE / "zh" / "LC_MESSAGES" / f"{DOMAIN}.po"
KEYWORDS = {"_": None}
DATE = datetime(
    2026, 11, 25, tzinfo=timezone.utc
)  # of the headers: a day of its own would make every compiled catalogue stale
# Tables whose texts users read, and the fields that hold them; sources are names, and stay as they are.
TABLES: Mapping[str, tuple[str, ...]] = {
    "env/audit/rules.toml": ("what", "why", "show", "fix"),
    "env/failures.toml": ("cause", "confirm", "fix"),
    "env/codes.toml": ("name", "look", "meaning"),
    "requirements/stack.toml": ("reason",),
    "model/foreign_files.toml": ("name",),
    "model/prompts.toml": ("name",),
    "verify/report/measured.toml": ("name",),
}

Found = tuple[int, str, str | Sequence[str], Sequence[str]]  # line, function, messages, comments: as Babel has it


def extract_table(file: IO[bytes], fields: Sequence[str]) -> Iterator[Found]:
    """The texts of a TOML table of tables, whatever the depth."""
    yield from ((1, "_", text, []) for text in _texts(loads(file.read().decode("utf-8")), fields))


def _texts(value: object, fields: Sequence[str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (text for name, text in value.items() if name in fields and isinstance(text, str) and text)
        for inner in value.values():
            yield from _texts(inner, fields)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, fields)


def messages(root: Path = ROOT) -> list[str]:
    """Every message, each once, in the order of the files."""
    from babel.messages.extract import extract

    found: list[str] = []
    python = [root / "noxfile.py", root / "inference.py", root / "eval.py"]
    python += [path for folder in ("env", "model", "verify") for path in sorted((root / folder).rglob("*.py"))]
    for path in python:
        with path.open("rb") as file:
            found += [str(row[1]) for row in extract("python", file, KEYWORDS)]
    jinja = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
    for path in sorted((root / "templates").rglob("*.j2")):
        with path.open("rb") as file:
            found += [folded(str(row[1])) for row in extract("jinja2.ext:babel_extract", file, KEYWORDS, options=jinja)]
    for name, fields in TABLES.items():
        with (root / name).open("rb") as file:
            found += [str(row[2]) for row in extract_table(file, fields)]
    return [text for text in dict.fromkeys(found) if text]


def fields_of(text: str) -> set[str]:
    """The names in braces of a message; empty where it holds none, or braces that are none of ours."""
    try:
        return {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name}
    except ValueError:
        return set()


def problems(wanted: Iterable[str], translated: Mapping[str, str]) -> list[str]:
    """What keeps the catalogue from being complete and current."""
    wanted = list(wanted)
    found = [f"not translated: {text!r}" for text in wanted if not translated.get(text)]
    found += [f"stale: {text!r}" for text in translated if text not in set(wanted)]
    return found + [
        f"other fields in the translation of {text!r}: {sorted(fields_of(text) ^ fields_of(translated[text]))}"
        for text in wanted
        if translated.get(text) and fields_of(text) != fields_of(translated[text])
    ]


def read(path: Path = CATALOGUE) -> dict[str, str]:
    """The catalogue as it stands: message to translation."""
    from babel.messages.pofile import read_po

    with path.open("rb") as file:
        return {str(entry.id): str(entry.string) for entry in read_po(file, locale="zh") if entry.id}


def write(translated: Mapping[str, str], path: Path = CATALOGUE) -> None:
    """Write the catalogue, and beside it the compiled one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    po, mo = documents(translated)
    path.write_bytes(po)
    path.with_suffix(".mo").write_bytes(mo)


def documents(translated: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The catalogue as text and compiled, sorted by message: the same bytes for the same translations."""
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import write_po

    catalogue: Any = Catalog(
        locale="zh",
        header_comment="# Chinese; kept in step by `nox -s messages`.",
        project="Granite-Speech on Ascend",
        creation_date=DATE,
        revision_date=DATE,
        fuzzy=False,
    )
    for text in sorted(translated):
        catalogue.add(text, translated[text])
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, catalogue, width=120, no_location=True)
    write_mo(mo, catalogue)
    return po.getvalue(), mo.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m env.catalogue", description=_("Keep the Chinese catalogue in step."))
    parser.add_argument("--check", action="store_true", help=_("change nothing; fail where it is not in step"))
    options = parser.parse_args(argv)
    wanted, translated = messages(), read() if CATALOGUE.exists() else {}
    if not options.check:
        write({text: translated.get(text, "") for text in wanted})
        translated = read()
    wrong = problems(wanted, translated)
    if options.check and documents(translated)[1] != CATALOGUE.with_suffix(".mo").read_bytes():
        wrong.append("the compiled catalogue is not that of the text")
    if wrong:
        raise VerificationFailedError("\n".join(wrong), next="nox -s messages, then translate what is empty")
    print(f"{len(wanted)} messages")
    return 0


if __name__ == "__main__":
    run_main(main)
