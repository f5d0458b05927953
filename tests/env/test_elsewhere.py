"""The reader of what comes from elsewhere: regular files of a size, inside a root, and JSON that is no bomb."""

from __future__ import annotations

import ast
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from env import elsewhere
from env.elsewhere import BadJsonError, BeyondLimitsError, RefusedFileError
from env.stack import ROOT
from env.toml import load_toml


def refusal(path: Path, root: Path | None = None) -> str:
    with pytest.raises(OSError, match=r".") as caught:
        elsewhere.read_bytes(path, "record", root=root)
    return str(caught.value.strerror)


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    assert elsewhere.read_text(tmp_path / "link", "record", root=tmp_path) == "{}"
    assert elsewhere.read_json(tmp_path / "file", "record") == {}


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert refusal(tmp_path / "pipe") == "not a regular file"
        assert refusal(tmp_path / "zero") == "not a regular file"
        assert refusal(tmp_path / "socket") == "No such device or address"
    assert refusal(tmp_path) == "Is a directory"
    assert refusal(tmp_path / "none") == "No such file or directory"


def test_a_file_that_says_it_is_regular_and_lets_its_readers_wait_is_refused() -> None:
    class Waiting(io.BytesIO):  # as /proc/kmsg, opened without blocking
        def read(self, size: int | None = -1) -> bytes:
            return None  # type: ignore[return-value]

    with pytest.raises(RefusedFileError, match="not a regular file"):
        elsewhere.limited(Waiting(), "record")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_has_is_an_oserror(name: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / name)
    assert refusal(tmp_path / name, tmp_path)


def test_a_larger_file_than_its_kind_allows_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(20 << 30)
    assert refusal(tmp_path / "sparse") == "larger than 16 MiB"


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "in" / "folder").symlink_to(tmp_path)
    assert refusal(root / "out", root) == "a link leads out of root"
    assert refusal(root / "in" / "folder" / "secret", root) == "a link leads out of root"
    (tmp_path / "elsewhere").symlink_to(root)
    (root / "file").write_text("x", encoding="utf-8")
    assert elsewhere.read_text(tmp_path / "elsewhere" / "file", "record", root=tmp_path / "elsewhere") == "x"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 66 + "]" * 66, "nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("1" * 5000, "a number of 5000 digits"),
        ("-" + "1" * 40, "a number of 41 digits"),
        ("1e400", "a number beyond all floats: 1e400"),
        ("[NaN]", "NaN is no JSON"),
        ("-Infinity", "-Infinity is no JSON"),
        ('{"\\ud800": 1}', "a text with half a character"),
        ('["\\udfff"]', "a text with half a character"),
    ],
)
def test_json_beyond_its_limits_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BeyondLimitsError) as caught:
        elsewhere.parse_json(text)
    assert caught.value.problem == problem


def test_other_json_is_what_the_library_makes_of_it() -> None:
    text = '{"a": [1, -2.5e3, null, true, "\\ud83d\\ude00"], "b": {"c": "\\u4e2d"}}'
    assert elsewhere.parse_json(text) == {"a": [1, -2500.0, None, True, "😀"], "b": {"c": "中"}}
    assert elsewhere.parse_json("[" * 64 + "]" * 64)
    assert elsewhere.parse_json("[Infinity]", constant=float) == [float("inf")]
    with pytest.raises(BadJsonError, match="Expecting value"):
        elsewhere.parse_json("{'a': 1}"[1:])


def test_every_kind_has_a_size_and_a_reason() -> None:
    table = load_toml(Path(elsewhere.__file__).with_suffix(".toml"))
    assert all(row.keys() == {"bytes", "why"} and row["bytes"] <= 1 << 27 for row in table.values())


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    refusal(tmp_path / "pipe")
    refusal(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Whoever else opens or parses a file, and why it is not from elsewhere.
OWN = {
    "env/elsewhere.py": "the reader itself",
    "env/toml.py": "tables that ship",
    "env/atomic.py": "a file that it writes",
    "env/capture.py": "the archive that it writes",
    "env/catalogue.py": "the checkout's own sources",
    "env/bench_doctor.py": "a log of its own making",
    "env/lock.py": "locks that ship",
    "env/aarch64.py": "the stamp of a tree that it made",
    "env/guardian.py": "/proc of its children",
    "env/supply.py": "what pip-audit answers",
    "model/codecs.py": "the null device, and files of its own",
    "model/cpu.py": "/proc of this machine",
    "model/clips.py": "the list of the recordings that ship",
    "model/widened.py": "the checkpoint that ships",
    "model/threads.py": "/sys of this machine",
    "model/sources.py": "a file that it writes",
    "verify/bench_kills.py": "runs of its own",
    "verify/links.py": "what its own children wrote",
    "verify/reference/bundled.py": "values that ship",
    "verify/run/cards.py": "text that the reader read, decoded into types",
    "verify/report/export/": "files that it writes",
    "verify/run/exclusive.py": "the lock of a run",
    "verify/run/npu_logs.py": "logs of its own children",
    "env/builder.py": "the environment that it built, its lock file and what its installer answers",
    "env/terminal.py": "the null device",
    "env/probe/packages.py": "by way of the tree",
    "env/unlocked_pins.py": "metadata of the running interpreter; wheels by way of the reader",
    "env/doctor.py": "gzip of a stream that the reader opened",
    "model/stand_in.py": "configurations that ship",
    "model/checkpoint.py": "the digests that it keeps",
    "model/reference.py": "weights that passed inspection",
    "model/stored_tensors.py": "weights that passed inspection",
    "model/safetensors_format.py": "a file that it writes",
    "model/training/": "what the training itself wrote",
    "verify/run/schema.py": "schemas that ship",
    "verify/run/provenance.py": "the checkout's own changes",
    "verify/run/context.py": "what its own parent hands over",
    "verify/run/worker.py": "the pipe to its parent",
    "verify/report/campaign.py": "text that the reader read, decoded into types",
    "verify/run/child.py": "the log of its own child",
    "verify/checks/frontend.py": "what its own child computed",
    "verify/checks/repeatability.py": "what its own child answers",
    "verify/checks/soak.py": "/proc of this process",
    "verify/faults/": "the campaign's own work folder, and faults that a developer plants",
    "verify/reference/file.py": "safetensors of a file that the reader looked at",
    "verify/speech/shards.py": "/proc of this machine",
    "verify/speech/transcripts.py": "a file that it goes on writing",
}
FILES = {"read_text", "read_bytes", "open", "fdopen", "safe_open", "ZipFile", "GzipFile", "fromfile"}
PARSERS = {"json", "np", "numpy", "tomllib", "toml", "pickle", "torch", "yaml"}
PARSE = {"load", "loads", "decode"}


def reads(path: Path) -> Iterator[str]:
    """Every call by which a file could be opened or JSON parsed, as "line: name"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            of = called.value if isinstance(called, ast.Attribute) else None
            module = getattr(of, "attr", getattr(of, "id", ""))
            if (name in FILES and module != "elsewhere") or (name in PARSE and module in PARSERS):
                yield f"{node.lineno}: {name}"


SOURCES = [
    path
    for folder in ("env", "model", "verify")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.is_relative_to(ROOT / "env" / "npu_emulator")
]


def test_nothing_else_reads_what_comes_from_elsewhere() -> None:
    others = {
        f"{name}:{read}"
        for path in (*SOURCES, ROOT / "eval.py", ROOT / "inference.py")
        if not (name := path.relative_to(ROOT).as_posix()).startswith(tuple(OWN))
        for read in reads(path)
    }
    assert others == set()


def test_no_exception_is_kept_for_what_reads_nothing() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in SOURCES if any(reads(path))}
    assert {own for own in OWN if not any(name.startswith(own) for name in names)} == set()
