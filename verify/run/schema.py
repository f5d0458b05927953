"""`python -m verify.run.schema`: the JSON Schema of a run's files, made of their types, into schemas/.

    python -m verify.run.schema            write them
    python -m verify.run.schema --check    fail where one is not that of the types

The types are in records.py and figures/. What they cannot say stands here: which figures belong to which check, and
what a pass implies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from env.arguments import Parser
from env.atomic import write_text
from env.errors import VerificationFailedError, run_main
from env.language import Message, _
from model.signature import Signature
from verify.run.figures import FIGURES, DiagnosisFigures
from verify.run.records import DOCTOR, LATER, Record, Run, Setup, Status

FOLDER = Path(__file__).with_name("schemas")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{name}"

Schema = dict[str, Any]

MESSAGE: Schema = {
    "description": "A sentence, or its template with its fields where it has any.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "required": ["message", "fields"],
            "properties": {"message": {"type": "string"}, "fields": {"type": "object"}},
            "additionalProperties": False,
        },
    ],
}
NUMBER: Schema = {"type": "number"}
NO_FIGURES = "NoFigures"


def _of(*names: str) -> Schema:
    return {"properties": dict.fromkeys(names, NUMBER)}


# What a pass implies beyond the types: figures are numbers, and nothing failed.
PASSED: Mapping[str, Schema] = {
    "device": {"properties": {"op": _of("max_abs")}},
    "splice": _of("max_abs_text", "max_abs_audio"),
    "determinism": {"properties": {"components": {"additionalProperties": _of("rel_l2")}}},
    "parity": {"properties": {"components": {"additionalProperties": _of("rel_l2", "max_abs", "cosine")}}},
    "speech": {"properties": {"failed": {"maxItems": 0}}},
    "checkpoint": {"properties": {"sums": {"not": {"properties": {"status": {"const": "differ"}}}}}},
}
BUILT = ("profile", "python", "machine", "lock", "lock_sha256", "installer", "packages", "apart")


def record_schema() -> Schema:
    """records/<check>.json."""
    schema, definitions = _components(Record, Signature, DiagnosisFigures, *FIGURES.values())
    definitions["Status"]["enum"] = [status.value for status in Status if status is not Status.NOT_RUN]
    doctor = {"type": "array", "items": _reference(DiagnosisFigures)}
    definitions[NO_FIGURES] = {"type": "object", "properties": {DOCTOR: doctor}, "additionalProperties": False}
    for kind in FIGURES.values():
        definitions[kind.__name__]["properties"][DOCTOR] = doctor
    schema["properties"] |= {"reason": MESSAGE, "signature": _reference(Signature)}
    schema["allOf"] = [_reason_unless_passed(), *_figures_of_checks()]
    return _document("One check of one run: records/<check>.json", schema, definitions)


def _figures_of_checks() -> Iterator[Schema]:
    """What passed holds the check's figures; what did not holds them or none."""
    for check, kind in FIGURES.items():
        whole = _reference(kind)
        yield _rule({"check": check, "status": "pass"}, {"data": {**whole, **PASSED.get(check, {})}})
        yield {
            "if": {"properties": {"check": {"const": check}, "status": {"not": {"const": "pass"}}}},
            "then": {"properties": {"data": {"anyOf": [{"$ref": REFERENCE.format(name=NO_FIGURES)}, whole]}}},
        }


def run_schema() -> Schema:
    """run.json."""
    schema, definitions = _components(Run)
    return _document("The options of a run, and the checks it planned: run.json", schema, definitions)


def setup_schema() -> Schema:
    """setup.json."""
    schema, definitions = _components(Setup)
    schema["properties"]["reason"] = MESSAGE
    data = {"required": list(BUILT), "properties": {"packages": {"minProperties": 1}}}
    schema["allOf"] = [_reason_unless_passed(), _rule({"status": "pass"}, {"data": data})]
    return _document("How the environment of a run was built, or why it was not: setup.json", schema, definitions)


def _reason_unless_passed() -> Schema:
    return {
        "if": {"properties": {"status": {"not": {"const": "pass"}}}},
        "then": {"properties": {"reason": {"minLength": 1}}},
    }


def _rule(where: Mapping[str, str], properties: Schema) -> Schema:
    conditions = {name: {"const": value} for name, value in where.items()}
    return {"if": {"properties": conditions}, "then": {"properties": properties}}


def _components(top: type, *others: type) -> tuple[Schema, Schema]:
    """The schema of a file's object, closed, and the definitions of everything in it."""
    _references, definitions = msgspec.json.schema_components(
        [top, *others], ref_template=REFERENCE, schema_hook=_of_message
    )
    schema: Schema = definitions.pop(top.__name__)
    schema["required"] = [name for name in schema["properties"] if name not in LATER]  # every version has written these
    schema["additionalProperties"] = False
    return schema, definitions


def _of_message(kind: type) -> Schema:
    """For msgspec: what a message is in JSON."""
    if kind is Message:
        return MESSAGE
    raise NotImplementedError(kind)


def _reference(kind: type) -> Schema:
    return {"$ref": REFERENCE.format(name=kind.__name__)}


def _document(title: str, schema: Schema, definitions: Schema) -> Schema:
    return {"$schema": DIALECT, **schema, "title": title, "$defs": dict(sorted(definitions.items()))}


def documents() -> dict[Path, str]:
    """Every schema that ships, as the types have it now."""
    schemas = {"record": record_schema(), "run": run_schema(), "setup": setup_schema()}
    return {
        FOLDER / f"{name}.schema.json": json.dumps(schema, ensure_ascii=False, indent=2) + "\n"
        for name, schema in schemas.items()
    }


def stale(texts: Mapping[Path, str]) -> list[str]:
    """The names of files that do not hold their text."""
    return [path.name for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m verify.run.schema", description=_("Write the JSON Schema of a run's files."))
    parser.add_argument("--check", action="store_true", help=_("change nothing; fail where one is not current"))
    options = parser.parse_args(argv)
    texts = documents()
    if not options.check:
        for path, text in texts.items():
            write_text(path, text)
    elif names := stale(texts):
        raise VerificationFailedError(
            _("not the schema of the types: {names}", names=", ".join(names)), next="python -m verify.run.schema"
        )
    return 0


if __name__ == "__main__":
    run_main(main)
