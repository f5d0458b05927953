"""The safetensors file format, read by its header alone and written tensor by tensor.

Eight bytes little-endian header length, a JSON header, then the tensors' bytes without gaps
(huggingface/safetensors, README "Format"). The library is not used here because its reader stops at the first thing
wrong with a file, and its writer wants a whole shard in memory.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from env import elsewhere
from env.language import Message, _

ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}
NOTES = "__metadata__"  # a map from text to text
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: `dtype` as safetensors spells it, the byte range counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class DamagedFileError(ValueError):
    """The file is not a whole safetensors file; `what` says in what way."""

    def __init__(self, what: Message) -> None:
        super().__init__(what)
        self.what = what


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors that a file declares, after checking that the file holds all of their bytes.

    Raises:
        DamagedFileError: garbage, a truncated file, overlapping or missing byte ranges.
        OSError: the file cannot be read.
    """
    with elsewhere.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        if len(prefix) < 8:
            raise DamagedFileError(_("{size} bytes long, not even a header", size=size))
        (length,) = struct.unpack("<Q", prefix)
        if length > elsewhere.limit("safetensors header"):
            raise DamagedFileError(_("not a safetensors file: its header length makes no sense"))
        if length > size - 8:
            raise DamagedFileError(
                _("truncated inside its header: {size} bytes of at least {least}", size=size, least=length + 8)
            )
        raw = file.read(length)
    try:
        header = elsewhere.parse_json(raw)
    except ValueError as error:
        raise DamagedFileError(_("not a safetensors file: its header is no JSON")) from error
    if not isinstance(header, dict):
        raise DamagedFileError(_("not a safetensors file: its header is no JSON object"))
    notes = header.pop(NOTES, {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise DamagedFileError(_("header entry of {name} makes no sense: {entry}", name=NOTES, entry=str(notes)[:80]))
    entries = {name: _entry(name, value) for name, value in header.items()}
    _check_ranges(entries, size - 8 - length)
    return entries


def _entry(name: str, value: Any) -> Entry:
    try:
        begin, end = value["data_offsets"]
        entry = Entry(value["dtype"], tuple(value["shape"]), begin, end)
        whole = all(type(n) is int and n >= 0 for n in (*entry.shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(_("header entry of {name} is not a tensor's", name=name)) from error
    if not whole or not isinstance(entry.dtype, str) or entry.dtype not in ITEM_BYTES:
        raise DamagedFileError(_("header entry of {name} makes no sense: {entry}", name=name, entry=str(value)))
    if math.prod(entry.shape) * ITEM_BYTES[entry.dtype] != end - begin:
        raise DamagedFileError(
            _(
                "{name}: {dtype} {shape} does not take {size} bytes",
                name=name,
                dtype=entry.dtype,
                shape=str(list(entry.shape)),
                size=end - begin,
            )
        )
    return entry


def _check_ranges(entries: Mapping[str, Entry], available: int) -> None:
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            raise DamagedFileError(
                _(
                    "{name} begins at byte {begin} of the data, {expected} expected",
                    name=name,
                    begin=entry.begin,
                    expected=position,
                )
            )
        position = entry.end
    if position > available:
        raise DamagedFileError(
            _(
                "truncated: {available:,} bytes of tensors, {declared:,} declared",
                available=available,
                declared=position,
            )
        )
    if position < available:
        raise DamagedFileError(_("{excess:,} bytes too long for what its header declares", excess=available - position))


def write_file(
    path: Path,
    tensors: Iterable[tuple[str, str, tuple[int, ...]]],
    data: Callable[[str], bytes | memoryview],
    metadata: Mapping[str, str],
) -> None:
    """Write `(name, dtype, shape)` tensors in order; `data(name)` gives each one's bytes when its turn comes.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    header: dict[str, Any] = {NOTES: dict(metadata)}
    position = 0
    order = list(tensors)
    for name, dtype, shape in order:
        end = position + math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes, as the format asks
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name, *_shape in order:
            file.write(data(name))
