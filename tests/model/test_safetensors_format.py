"""The library is the oracle: it reads what is written here, and what it writes is read here."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.safetensors_format import DamagedFileError, Entry, read_header, write_file


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = {"a": torch.arange(6, dtype=torch.int64).reshape(2, 3), "b": torch.tensor([1.5, -2.0]).bfloat16()}
    raw = {"a": tensors["a"].numpy().tobytes(), "b": tensors["b"].view(torch.int16).numpy().tobytes()}
    path = tmp_path / "x.safetensors"
    write_file(path, [("a", "I64", (2, 3)), ("b", "BF16", (2,))], lambda name: raw[name], {"format": "pt"})
    found = load_file(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(3, 4, dtype=torch.bfloat16), "n": torch.zeros((), dtype=torch.int64)}, path)
    header = read_header(path)
    assert {name: (entry.dtype, entry.shape) for name, entry in header.items()} == {
        "w": ("BF16", (3, 4)),
        "n": ("I64", ()),
    }


def header_of(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    found: dict[str, Any] = json.loads(raw[8 : 8 + length])
    return found


def with_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.write_bytes(b""), "0 bytes long, not even a header"),
    "a web page": (
        lambda p: p.write_bytes(b"<!DOCTYPE html><html>"),
        "not a safetensors file: its header length makes no sense",
    ),
    "cut in the header": (
        lambda p: p.write_bytes(p.read_bytes()[:40]),
        "truncated inside its header: 40 bytes of at least",
    ),
    "cut in the tensors": (
        lambda p: p.write_bytes(p.read_bytes()[:-3]),
        "truncated: 21 bytes of tensors, 24 declared",
    ),
    "bytes too many": (lambda p: p.write_bytes(p.read_bytes() + b"xx"), "2 bytes too long"),
    "header of garbage": (
        lambda p: p.write_bytes(struct.pack("<Q", 8) + b"\x80garbage"),
        "not a safetensors file: its header is no JSON",
    ),
    "header is a list": (
        lambda p: p.write_bytes(struct.pack("<Q", 2) + b"[]"),
        "not a safetensors file: its header is no JSON object",
    ),
    "entry without a range": (
        lambda p: with_header(p, lambda h: h["a"].pop("data_offsets")),
        "header entry of a is not a tensor's",
    ),
    "entry is a number": (lambda p: with_header(p, lambda h: h.update(a=1)), "header entry of a is not a tensor's"),
    "notes are a number": (
        lambda p: with_header(p, lambda h: h.update(__metadata__=5)),
        "header entry of __metadata__",
    ),
    "a note is a number": (
        lambda p: with_header(p, lambda h: h.update(__metadata__={"format": 5})),
        "header entry of __metadata__ makes no sense: {'format': 5}",
    ),
    "negative shape": (
        lambda p: with_header(p, lambda h: h["a"].update(shape=[-2, -2])),
        "header entry of a makes no sense",
    ),
    "unknown dtype": (
        lambda p: with_header(p, lambda h: h["a"].update(dtype="Q4_K")),
        "header entry of a makes no sense",
    ),
    "range and shape differ": (
        lambda p: with_header(p, lambda h: h["a"].update(shape=[5])),
        "a: F32 [5] does not take 16 bytes",
    ),
    "overlap": (
        lambda p: with_header(p, lambda h: h["b"].update(data_offsets=[8, 16])),
        "b begins at byte 8 of the data, 16 expected",
    ),
    "gap": (
        lambda p: with_header(p, lambda h: h["b"].update(data_offsets=[20, 28])),
        "b begins at byte 20 of the data, 16 expected",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "x.safetensors"
    write_file(path, [("a", "F32", (4,)), ("b", "F32", (2,))], lambda name: b"\0" * (16 if name == "a" else 8), {})
    assert read_header(path) == {"a": Entry("F32", (4,), 0, 16), "b": Entry("F32", (2,), 16, 24)}
    damage(path)
    with pytest.raises(DamagedFileError) as caught:
        read_header(path)
    assert str(caught.value).startswith(message)


def test_tensors_begin_at_a_multiple_of_eight_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_file(path, [("a", "F32", (1,))], lambda name: b"\0" * 4, {"format": "pt"})
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert length % 8 == 0
    assert header_of(path)["__metadata__"] == {"format": "pt"}
