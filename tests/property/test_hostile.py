"""Hostile checkpoints, inputs and tables, to those who read them; how many readers there are is known to `nox`."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from env import doctor, npu_smi, wheelhouse
from env.audit.compat_check import read as read_page
from env.codes_check import published
from model import checksums
from model.architecture import parse as parse_config
from model.checkpoint import inspect
from model.gate import require_no_code
from tests.property import hostile, test_hostile_records
from tests.property.hostile import Reader, bent_bytes, bent_json, hold, of_file, stored
from verify.report.compare import bands_of
from verify.speech import manifest, normalisers, other_tools, transcripts

STAND_IN = Path(__file__).resolve().parents[2] / "model" / "data" / "stand-in"


def of_checkpoint(name: str) -> Reader:
    def read(folder: Path, data: bytes) -> object:
        for path in STAND_IN.iterdir():
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data)
        require_no_code(folder)
        return inspect(folder)

    return read


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


UTTERANCE = {"audio_filepath": "a.flac", "duration": 1.5, "text": "one", "lang": "en", "taskname": "asr"}
LINE = {"key": "a", "audio": "a.flac", "language": "en", "task": "transcribe", "target": None, "reference": "one"}
HEADER = {"kind": transcripts.KIND, "schema": transcripts.SCHEMA, "device": "cpu"}
SMI = (
    b"+----+\n| npu-smi 24.1 Version: 24.1.0 |\n| 0 910B4 | OK | 86.2 40 0 / 0 |\n"
    b"| 0 | 0000:C1:00.0 | 0 0/0 2811/ 32768 |\n"
)
CUT = {
    "id": "a", "start": 0.0, "duration": 1.5, "channel": 0, "type": "MonoCut",
    "supervisions": [{"id": "a", "start": 0.0, "duration": 1.5, "text": "one", "language": "en"}],
    "recording": {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.flac"}]},
}  # fmt: skip
WHEELHOUSE = {
    "profile": "host", "machine": "x86_64", "python": "3.11", "made": "2026", "locks": {"a": "b"}, "bytes": 1,
    "files": [], "missing": [], "schema": 1,
}  # fmt: skip

READERS: dict[str, tuple[st.SearchStrategy[bytes], Reader]] = {
    "npu-smi": (bent_bytes(SMI), lambda folder, data: npu_smi.parse(data.decode("utf-8", "replace")).as_dict()),
    "config": (
        bent_json(stored(STAND_IN / "config.json")),
        lambda folder, data: parse_config(value) if isinstance(value := _json(data), dict) else None,
    ),
    "config.json": (bent_json(stored(STAND_IN / "config.json")), of_checkpoint("config.json")),
    "generation_config.json": (
        bent_json(stored(STAND_IN / "generation_config.json")),
        of_checkpoint("generation_config.json"),
    ),
    "STAND_IN.json": (bent_json(stored(STAND_IN / "STAND_IN.json")), of_checkpoint("STAND_IN.json")),
    "index": (
        bent_json(
            {"metadata": {"total_size": 1}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        ),
        of_checkpoint("model.safetensors.index.json"),
    ),
    "weights": (
        bent_json({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).map(
            lambda header: len(header).to_bytes(8, "little") + header + b"\0" * 16
        ),
        of_checkpoint("model.safetensors"),
    ),
    "sums": (
        bent_bytes(b"0" * 64 + b"  model.safetensors\n"),
        lambda folder, data: checksums.parse(data.decode("utf-8", "replace")),
    ),
    "manifest": (
        st.lists(bent_json(UTTERANCE), min_size=1, max_size=3).map(b"\n".join),
        of_file(manifest.read),
    ),
    "transcripts": (
        st.tuples(bent_json(HEADER), bent_json({**LINE, "notes": []})).map(lambda lines: b"\n".join(lines) + b"\n"),
        of_file(transcripts.read),
    ),
    "spelling": (bent_json({"colour": "color"}), of_file(lambda path: normalisers.load("none", path))),
    "wheelhouse": (
        bent_json(WHEELHOUSE),
        of_file(lambda path: wheelhouse.read_manifest(path.parent), wheelhouse.MANIFEST),
    ),
    "log": (bent_bytes(b"E90003: x\nImportError: libhccl.so: y\n"), of_file(lambda path: doctor._scan_file(str(path)))),
    "page": (
        bent_bytes(b"| CANN | torch_npu |\n|---|---|\n| 8.5.0 | 2.9.0 |\n"),
        of_file(lambda path: read_page(str(path))),
    ),
    "manifest as a table": (
        bent_bytes(b"audio,text,duration,language\na.flac,one,1.5,en\nb.flac,two,2,de\n"),
        of_file(manifest.read, "file.csv"),
    ),
    "Common Voice": (
        bent_bytes(b"client_id\tpath\tsentence\tlocale\n0\ta.mp3\tone\ten\n"),
        of_file(manifest.read, "file.tsv"),
    ),
    "manifest as an array": (bent_json([UTTERANCE, UTTERANCE]), of_file(manifest.read, "file.json")),
    "cuts": (bent_json(CUT), of_file(manifest.read)),
    "packed manifest": (
        st.one_of(bent_json(UTTERANCE).map(gzip.compress), bent_bytes(gzip.compress(json.dumps(UTTERANCE).encode()))),
        of_file(manifest.read, "file.jsonl.gz"),
    ),
    "another tool's texts": (
        bent_json({"text": "one", "segments": [{"start": 0.0, "end": 1.5, "text": "one"}], "language": "en"}),
        of_file(lambda path: other_tools.read(path, None, "en"), "file.json"),
    ),
    "another tool's lines": (
        bent_bytes(b"one two\nthree\n"),
        of_file(lambda path: other_tools.read(path, None, "en"), "file.txt"),
    ),
    "bands": (bent_json({"changes": [{"name": "prefill", "band": 0.02}]}), of_file(lambda path: bands_of(str(path)))),
    "codes": (
        bent_bytes(b'"ErrCode": "E10001"\n#define ACL_ERROR_X 100000\nHCCL_E_PARA = 1,\n'),
        of_file(lambda path: published(path.read_text(encoding="utf-8", errors="replace"))),
    ),
}


def test_the_session_knows_how_many_readers_there_are() -> None:
    text = (Path(__file__).resolve().parents[2] / "noxfile.py").read_text(encoding="utf-8")
    readers = {*READERS, *test_hostile_records.READERS}
    assert f"HOSTILE_READERS = {len(readers)} " in text
    assert len(readers) * hostile.EXAMPLES >= 10_000 or "BUNDLE_HOSTILE_EXAMPLES" in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_hostile_input_gives_a_value_or_an_error_of_our_own(name: str, tmp_path: Path) -> None:
    hold(*READERS[name], tmp_path)
