"""Manifests as they lie on disk: JSON lines, a JSON array, CSV, TSV, Parquet, lhotse cuts, a Kaldi or plain folder.

Every one becomes rows with NeMo's keys or its own; what the keys mean is manifest_fields.toml's.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import shlex
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from env import elsewhere
from env.digest import file_sha256
from env.errors import InputError
from env.language import _
from model.files import STDIN
from verify.speech import manifest_folders, manifest_lhotse
from verify.speech.manifest_folders import Row, UnusableLineError

HEAD = "head -n 3 {path}"


@dataclass(frozen=True)
class Source:
    """A manifest before its rows are judged. `sha256` is that of the file's bytes, or of a folder's listing."""

    rows: Iterable[Row]  # read as they are asked for: parsed at once they would take a kilobyte each
    sha256: str
    name: str
    show: str  # the command that shows its beginning


def read(path: Path) -> Source:
    """The rows of a manifest.

    Raises:
        InputError: it cannot be read, or is of a kind that is not known.
    """
    if path.is_dir():
        return _folder(path)
    standard_input = str(path) in STDIN
    data = _bytes(path, standard_input)
    sha256 = hashlib.sha256(data).hexdigest()
    name = "stdin" if standard_input else path.name
    show = f"head -n 3 {shlex.quote(str(path))}"
    folder = Path() if standard_input else path.parent
    if data.startswith(b"\x1f\x8b"):
        data, name, show = _unpacked(path, data), name.removesuffix(".gz"), f"zcat {shlex.quote(str(path))} | head -n 3"
    if data.startswith(b"PAR1"):
        return Source(_parquet(path, data, folder), sha256, name, show)
    return Source(_rows(path, name, _text(path, data), folder), sha256, name, show)


def _folder(path: Path) -> Source:
    for name in manifest_folders.METADATA:
        if (path / name).is_file():
            return read(path / name)
    rows, files = manifest_folders.rows(path)
    listing = "".join(f"{digest}  {name}\n" for name, digest in files)
    return Source(rows, hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(), path.name, f"ls {path}")


def _bytes(path: Path, standard_input: bool) -> bytes:
    try:
        return (
            elsewhere.limited(sys.stdin.buffer, "manifest")
            if standard_input
            else elsewhere.read_bytes(path, "manifest")
        )
    except OSError as error:
        raise InputError(
            _("{path}: cannot be read: {reason}", path=path, reason=error.strerror), next=f"ls -l {path}"
        ) from error


def _unpacked(path: Path, data: bytes) -> bytes:
    try:
        return elsewhere.unpacked(data, "manifest", path)
    except elsewhere.RefusedFileError as error:
        raise InputError(
            _("{path}: cannot be read: {reason}", path=path, reason=error.strerror), next=f"ls -l {path}"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            _("{path}: is a damaged gzip file: {error}", path=path, error=str(error)), next=f"gzip -t {path}"
        ) from error


def _text(path: Path, data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(
            _("{path}: is UTF-16, a manifest is UTF-8", path=path),
            next=f"iconv -f UTF-16 -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(path.stem)}.utf8{path.suffix}",
        )
    if b"\0" in data[:4096]:
        raise InputError(
            _("{path}: is no text", path=path),
            why=_("a manifest is JSON lines, a JSON array, CSV, TSV, Parquet, or one of these packed with gzip"),
            next=f"file {shlex.quote(str(path))}",
        )
    # A damaged byte spoils its own line only: it becomes a character that no field may hold.
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _rows(path: Path, name: str, text: str, folder: Path) -> Iterator[Row]:
    """Rows by what the text is: its name says CSV and TSV, its first character JSON."""
    suffix = Path(name).suffix.lower()
    first = text.lstrip()[:1]
    if suffix in (".csv", ".tsv") or (first not in ("", "{", "[") and "\t" in text.partition("\n")[0]):
        yield from _table(text, folder, tabs=suffix != ".csv")
        return
    if suffix in (".yaml", ".yml"):
        raise InputError(
            _("{path}: YAML is not read", path=path),
            next=_("lhotse copy {path} cuts.jsonl writes JSON lines", path=path),
        )
    whole = _array(text) if first == "[" else None
    values = enumerate(whole, start=1) if whole is not None else _json_lines(text)
    for number, value in values:
        if isinstance(value, UnusableLineError):
            yield Row(number, value, folder)
        elif isinstance(value, Mapping) and manifest_lhotse.is_cut(value):
            yield from manifest_lhotse.rows(number, value, folder)
        else:
            yield Row(number, value, folder)


def _array(text: str) -> list[Any] | None:
    """The objects of a JSON array; None where the text is not one, so that its lines are looked at."""
    try:
        value = elsewhere.parse_json(text, constant=float, surrogates=True)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and value and all(isinstance(row, dict) for row in value) else None


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    # Not splitlines: a text may hold U+2028 and its like, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, elsewhere.parse_json(line, constant=float, surrogates=True)
        except elsewhere.BadJsonError as error:
            yield number, UnusableLineError("syntax", _("is not JSON: {error}", error=error.problem))


def _table(text: str, folder: Path, *, tabs: bool) -> Iterator[Row]:
    """Rows of a table whose first line names its columns. A TSV quotes nothing: Common Voice has lone quotes."""
    head = text.partition("\n")[0]
    delimiter = "\t" if tabs else max(",;\t", key=head.count)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    csv.field_size_limit(1 << 24)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    for values in reader:
        row = {name: _cell(name, value) for name, value in values.items() if name is not None and value is not None}
        if any(value != "" for value in row.values()):
            yield Row(reader.line_num, row, folder)


def _cell(name: str, value: str) -> Any:
    """A cell of a table: a number where the field is one, None where it is empty and no text."""
    if name.rpartition(".")[2] in ("duration", "offset", "channel", "channel_selector"):
        try:
            return None if not value.strip() else elsewhere.parse_json(value, constant=float)
        except ValueError:
            return value
    return value


def _parquet(path: Path, data: bytes, folder: Path) -> Iterator[Row]:
    """Rows of a Parquet file; recordings inside it are written beside it, by their digest."""
    try:
        from pyarrow import parquet  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError(
            _("{path}: is Parquet, for which pyarrow is needed", path=path),
            why=_("it is no part of the locked environment"),
            next=f"{sys.executable} -m pip install pyarrow",
        ) from error
    number = 0
    for batch in parquet.ParquetFile(io.BytesIO(data)).iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield Row(number, _with_its_recording(row, folder / f"{path.stem}.audio"), folder)


def _with_its_recording(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    audio = row.get("audio")
    if not isinstance(audio, Mapping) or not isinstance(audio.get("bytes"), bytes):
        return row
    suffix = Path(str(audio.get("path") or "audio.wav")).suffix
    place = folder / f"{hashlib.sha256(audio['bytes']).hexdigest()[:32]}{suffix}"
    if not (place.is_file() and file_sha256(place).startswith(place.stem)):
        folder.mkdir(parents=True, exist_ok=True)
        place.write_bytes(audio["bytes"])
    return {**row, "audio": {"path": str(place.resolve())}}
