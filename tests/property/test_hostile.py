"""Hostile inputs to every reader of what comes from elsewhere: it gives a value or an error of the bundle's own.

No traceback, no hang, and no memory beyond 500 MB. Inputs are whole files that were bent: a value exchanged for one of
another type, size, depth or script, a byte flipped, the end cut off, a part repeated. CI takes a fixed number;
`nox -s bench-hostile -- --n 10000` takes as many as it is told.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env import doctor, npu_smi, wheelhouse
from env.audit import command as audit
from env.audit.compat_check import read as read_page
from env.errors import BundleError
from model import checksums
from model.architecture import parse as parse_config
from model.checkpoint import inspect
from model.gate import require_no_code
from tests.env.test_hostile_trees import MANIFEST
from tests.verify.report_runs import DATA
from verify.report.campaign import BadCampaignError
from verify.report.campaign import parse as parse_campaign
from verify.run.records import read_evidence
from verify.run.verdict import judge
from verify.speech import manifest, normalisers, transcripts

EXAMPLES = int(os.environ.get("BUNDLE_HOSTILE_EXAMPLES", "20"))  # of each reader
SECONDS, MEBIBYTES = 30, 500
STAND_IN = Path(__file__).resolve().parents[2] / "model" / "data" / "stand-in"

VALUES: list[Any] = [
    None, True, 0, -1, 10**30, 10**400, 1e308, 1e-320, "", "x" * 10_000, "\x1b[2J", "\u202e", "\ud800",
    "../../etc/passwd", "/dev/zero", "{0.__class__}", "{}", "%s", "<script>", "a\nb", "\0",
    [], {}, [[]], [None] * 300, {"": {}}, {"__proto__": 1},
]  # fmt: skip
DEEP = ["[" * 3000, '{"a":' * 3000, "[" * 70 + "]" * 70]


@st.composite
def bent_json(draw: st.DrawFn, whole: Any) -> bytes:
    """A JSON value with up to three places exchanged, or its text damaged."""
    value = json.loads(json.dumps(whole))
    for _each in range(draw(st.integers(1, 3))):
        place = value
        while isinstance(place, (dict, list)) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                how = draw(st.sampled_from(("value", "remove", "rename")))
                if how == "value" or isinstance(place, list):
                    place[key] = json.loads(json.dumps(draw(st.sampled_from(VALUES))))  # it may be bent itself
                else:
                    del place[key]
                    if how == "rename":
                        place[key + "x"] = inner
                break
            place = inner
    return draw(bent_bytes(json.dumps(value).encode()))


@st.composite
def bent_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes as they are, cut off, with one flipped, with a piece put in or repeated."""
    how = draw(st.sampled_from(("as it is", "cut", "flip", "insert", "repeat")))
    place = draw(st.integers(0, max(len(whole) - 1, 0)))
    if how == "cut":
        return whole[:place]
    if how == "flip" and whole:
        return whole[:place] + bytes([whole[place] ^ (1 << draw(st.integers(0, 7)))]) + whole[place + 1 :]
    if how == "insert":
        texts = st.sampled_from(
            [text.encode() for text in DEEP] + [b"\xff\xfe", b"\0", b"\x1b]0;x\x07", b"1" * 5000, b"NaN"]
        )
        return whole[:place] + draw(texts) + whole[place:]
    if how == "repeat":
        return whole * draw(st.integers(2, 5))
    return whole


Reader = Callable[[Path, bytes], object]


def of_record(name: str) -> Reader:
    def read(folder: Path, data: bytes) -> object:
        run = folder / "run"
        if not run.exists():
            shutil.copytree(DATA / "npu-verified", run)
        path = run / name
        whole = path.read_bytes()
        path.write_bytes(data)
        try:
            return judge(read_evidence(run)).line()
        finally:
            path.write_bytes(whole)

    return read


def of_tree(name: str) -> Reader:
    def read(folder: Path, data: bytes) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        capture = folder / ".capture" / "manifest.json"
        capture.parent.mkdir(exist_ok=True)
        capture.write_text(json.dumps(MANIFEST), encoding="utf-8")
        path.write_bytes(data)
        with redirect_stdout(io.StringIO()):
            return audit.main(["--root", str(folder), "--json"])

    return read


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


def of_file(read: Callable[[Path], object], name: str = "file") -> Reader:
    def from_folder(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return from_folder


def stored(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


UTTERANCE = {"audio_filepath": "a.flac", "duration": 1.5, "text": "one", "lang": "en", "taskname": "asr"}
LINE = {"key": "a", "audio": "a.flac", "language": "en", "task": "transcribe", "target": None, "reference": "one"}
HEADER = {"kind": transcripts.KIND, "schema": transcripts.SCHEMA, "device": "cpu"}
SMI = (
    b"+----+\n| npu-smi 24.1 Version: 24.1.0 |\n| 0 910B4 | OK | 86.2 40 0 / 0 |\n"
    b"| 0 | 0000:C1:00.0 | 0 0/0 2811/ 32768 |\n"
)
RUN = DATA / "npu-verified"
WHEELHOUSE = {
    "profile": "host", "machine": "x86_64", "python": "3.11", "made": "2026", "locks": {"a": "b"}, "bytes": 1,
    "files": [], "missing": [], "schema": 1,
}  # fmt: skip

READERS: dict[str, tuple[st.SearchStrategy[bytes], Reader]] = {
    **{
        f"record {name}": (bent_json(stored(RUN / "records" / f"{name}.json")), of_record(f"records/{name}.json"))
        for name in ("parity", "layers", "speech", "machine", "device", "tokens")
    },
    "run.json": (bent_json(stored(RUN / "run.json")), of_record("run.json")),
    "setup.json": (bent_json(stored(RUN / "setup.json")), of_record("setup.json")),
    "campaign": (
        bent_json(stored(DATA / "emulated-faults" / "faults.json")),
        lambda folder, data: parse_campaign(data.decode("utf-8", "replace")),
    ),
    "capture": (bent_json(MANIFEST), of_tree(".capture/manifest.json")),
    "driver's answer": (
        bent_json({"count": 1, "library": "/x.so", "error": None}),
        of_tree(".capture/commands/hal-count.txt"),
    ),
    "npu-smi": (bent_bytes(SMI), lambda folder, data: npu_smi.parse(data.decode("utf-8", "replace")).as_dict()),
    "os-release": (bent_bytes(b'PRETTY_NAME="x"\nID=y\n'), of_tree("etc/os-release")),
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
}


def test_the_session_knows_how_many_readers_there_are() -> None:
    text = (Path(__file__).resolve().parents[2] / "noxfile.py").read_text(encoding="utf-8")
    assert f"HOSTILE_READERS = {len(READERS)} " in text


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def late(*_arguments: object) -> None:
        raise AssertionError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", READERS)
def test_a_hostile_input_gives_a_value_or_an_error_of_our_own(name: str, tmp_path: Path) -> None:
    inputs, read = READERS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="BUNDLE_HOSTILE_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def hold(data: bytes) -> None:
        with within(SECONDS), suppress(BundleError, BadCampaignError):
            read(tmp_path, data)

    hold()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES
