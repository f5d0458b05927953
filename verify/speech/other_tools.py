"""Texts that other tools made, as transcripts: so that a run elsewhere is scored and compared as ours are.

Read are NeMo's output manifests (transcribe_speech.py: text, pred_text), the Open ASR Leaderboard's (the same), rows
with text or reference and prediction or hypothesis, Whisper's JSON (openai/whisper, whisper/utils.py WriteJSON: one
object a recording, named after it), folders of these, and text files of one utterance a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from env import elsewhere
from env.errors import InputError, UsageError
from env.language import _
from model import prompts
from verify.speech import manifest_rows, transcripts
from verify.speech.transcripts import Line, Transcripts

HYPOTHESES = ("pred_text", "prediction", "predicted_text", "hypothesis", "pred", "hyp")
REFERENCES = ("text", "reference", "ref", "sentence", "transcription", "transcript", "answer", "label")
AUDIO = ("audio_filepath", "path", "audio", "file_name", "file", "id", "key")
LANGUAGES = ("source_lang", "lang", "language", "locale", "langid")
TARGETS = ("target_lang", "target_language")


@dataclass(frozen=True, slots=True)
class Text:
    """A row of another tool: `name` is that of its recording, or the number of its line."""

    name: str
    hypothesis: str | None
    reference: str | None
    language: str | None = None
    target: str | None = None
    duration: float = 0.0


def _first(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((row[name] for name in names if isinstance(row.get(name), str)), None)


def _row(row: Mapping[str, Any], name: str) -> Text:
    hypothesis, reference = _first(row, HYPOTHESES), _first(row, REFERENCES)
    if hypothesis is None:  # one text, which is what was understood: Whisper's JSON, and our own
        hypothesis, reference = reference, None
    duration = row.get("duration")
    return Text(
        _first(row, AUDIO) or name,
        hypothesis,
        reference,
        _first(row, LANGUAGES),
        _first(row, TARGETS) or _first(row, ("target",)),
        float(duration) if isinstance(duration, int | float) else 0.0,
    )


def _texts(path: Path) -> Iterator[Text]:
    """The rows of a file or a folder.

    Raises:
        InputError: it cannot be read.
    """
    if path.is_dir():
        files = sorted(path.glob("*.json")) or sorted(path.glob("*.txt"))
        if not files:
            raise InputError(_("{path}: holds no .json or .txt files", path=path), next=f"ls {path}")
        for file in files:
            for text in _texts(file):
                yield replace(text, name=file.stem)
        return
    try:
        content = elsewhere.read_text(path, "transcripts", errors="replace").removeprefix("\ufeff")
    except OSError as error:
        raise InputError(
            _("{path}: cannot be read: {reason}", path=path, reason=error.strerror), next=f"ls -l {path}"
        ) from error
    if path.suffix.lower() == ".json" and content.lstrip().startswith("{"):
        try:
            value = elsewhere.parse_json(content)
        except ValueError:
            value = None  # JSON lines under that name
        if isinstance(value, dict):
            yield _row(value, path.stem)
            return
    if content.lstrip()[:1] in ("{", "[") or path.suffix.lower() in (".csv", ".tsv"):
        for row in manifest_rows.read(path).rows:
            if isinstance(row.value, Mapping):
                yield _row(row.value, str(row.line))
        return
    for number, line in enumerate(content.removesuffix("\n").split("\n"), start=1):
        yield Text(str(number), line.removesuffix("\r"), None)


def _is_ours(path: Path) -> bool:
    """Whether the first line says that it is a file of transcripts."""
    try:
        with elsewhere.opened(path) as file:
            value = elsewhere.parse_json(file.readline(elsewhere.limit("settings")).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("kind") == transcripts.KIND


def _references(path: Path) -> dict[str, str]:
    """Reference texts by the name of their recording, without folders and ending, and by the number of their line."""
    found: dict[str, str] = {}
    for number, text in enumerate(_texts(path), start=1):
        reference = text.hypothesis if text.reference is None else text.reference
        if reference is not None:
            found[Path(text.name).stem] = found[str(number)] = reference
    return found


def read(path: Path, references: Path | None = None, language: str | None = None) -> Transcripts:
    """A file of transcripts, or what another tool wrote. `references` holds the reference texts of what has none;
    `language` is that of rows that do not say theirs.

    Raises:
        RecordError: the file is damaged.
        InputError: it cannot be read, or holds no texts.
        UsageError: a row's language is not known, and none was named.
    """
    if not path.is_dir() and (_is_ours(path) or path.name.endswith(".times.json")):
        return transcripts.read(path)
    known = {} if references is None else _references(references)
    rows = list(_texts(path))
    if not any(row.hypothesis is not None for row in rows):
        raise InputError(
            _("{path}: holds no texts", path=path),
            why=_("a row has one of {names}, or text alone", names=", ".join(HYPOTHESES)),
            next=f"head -n 3 {path}",
        )
    by_line = references is not None and all(row.name == str(number) for number, row in enumerate(rows, start=1))
    if by_line and len(known) != len(rows):
        raise InputError(
            _("{path} and {references} have different numbers of lines", path=path, references=references),
            why=_("{one} and {other}", one=len(rows), other=len(known)),
            next=f"wc -l {path} {references}",
        )
    return Transcripts({"made_by": f"another tool: {path.name}"}, tuple(_lines(path, rows, known, language)))


def _lines(path: Path, rows: Iterable[Text], known: Mapping[str, str], language: str | None) -> Iterator[Line]:
    for row in rows:
        spoken = row.language or language
        if spoken is None:
            raise UsageError(
                _("{path}: {name} does not say its language", path=path, name=row.name), next="--language en"
            )
        target = None if row.target is None else prompts.language_code(row.target)
        spoken = prompts.language_code(spoken)
        target = None if target == spoken else target
        yield Line(
            row.name if target is None else f"{row.name}#{target}",
            row.name,
            spoken,
            "transcribe" if target is None else "translate",
            target,
            known.get(Path(row.name).stem) if row.reference is None else row.reference,
            row.hypothesis,
            None if row.hypothesis is not None else _("there is no text of it"),
            duration=row.duration,
        )


def paired(a: Transcripts, b: Transcripts) -> tuple[Transcripts, Transcripts]:
    """Two sides under the same keys, with references on both: where no key is common, recordings are known by their
    names without folders and ending, as far as these are unique.
    """
    if not {line.key for line in a.lines} & {line.key for line in b.lines}:
        names = {_name(line): line.key for line in a.lines}
        own = [_name(line) for line in b.lines]
        if len(names) == len(a.lines) and len(set(own)) == len(own):
            b = replace(b, lines=tuple(replace(line, key=names.get(_name(line), line.key)) for line in b.lines))
    return _with_references(a, b), _with_references(b, a)


def _name(line: Line) -> tuple[str, str | None]:
    return Path(line.audio).stem, line.target


def _with_references(side: Transcripts, other: Transcripts) -> Transcripts:
    known = {line.key: line.reference for line in other.lines}
    lines = (
        line if line.reference is not None else replace(line, reference=known.get(line.key)) for line in side.lines
    )
    return replace(side, lines=tuple(lines))
