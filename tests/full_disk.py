"""`python -m tests.full_disk FULL SMALL SPARE`: run every writer of the project on a disk that is full.

FULL is an empty file system of a few pages, which this fills to its last byte; SMALL one of 3 MB, for environments;
SPARE a folder with room. Prints a JSON object: what each writer ended with. tests/test_places.py mounts the first two.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from env import capture, setup
from env.atomic import write_json
from env.audit import command as audit
from env.builder import Plan, build, read_stamp
from env.errors import BundleError
from env.installer import Sources, choose
from env.setup import SetupRequest
from env.stack import ROOT
from tests.env.wheels import lock_line, make_wheel
from verify.report import __main__ as report
from verify.run import engine
from verify.run.context import Context
from verify.run.plan import Check
from verify.run.records import Record, Status, write_record, write_run
from verify.speech.transcripts import Journal, Line, finish

Writer = Callable[[], object]
DOCUMENTED = ROOT / "tests" / "data" / "report" / "cpu-stand-in"
LINE = Line("0", "a.flac", "en", "asr", None, "a text")


def fill(folder: Path) -> None:
    """Leave no byte, and no page for the next file."""
    descriptor = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)


def request(profile: str = "tools") -> SetupRequest:
    return SetupRequest(profile, "cpu", None, (), (), False, None, "auto", None, False)


def environment(name: str, small: Path, spare: Path) -> object:
    """An environment that outgrows its disk: a wheel of 8 MB for uv, pip itself for pip."""
    wheel = make_wheel(spare / "wheels", "demo-core", "1.0", code=f"data = {os.urandom(4_000_000).hex()!r}\n")
    lock = spare / "demo.txt"
    lock.write_text(lock_line(wheel), encoding="utf-8")
    plan = Plan(name, small / name, lock, ())
    try:
        return build(plan, choose(name), Sources(find_links=(str(wheel.parent),), offline=True))
    finally:
        assert read_stamp(plan.path) is None


def reference(full: Path, spare: Path) -> Iterator[tuple[str, Writer]]:
    """The writers of reference values, with the smallest there can be."""
    import torch

    from model.hooks import Point
    from verify.reference import file
    from verify.reference.values import Description, Expected

    point = Point("", "out of", 0, 0, "", "")
    key = point.key
    description = Description(3, "", "", "", "", "float32", (), True, 1, {})
    value = torch.ones(64, 256)
    expected = Expected(description, {key: point}, {key: value}, torch.ones(1, 1), torch.ones(1, 1, 4), {})
    tempfile.tempdir = str(spare)
    yield "reference values", lambda: file.save(expected, full / "reference.safetensors")
    yield "reference values after the work", lambda: file.save_somewhere(expected, full / "reference.safetensors")


def writers(full: Path, small: Path, spare: Path) -> Iterator[tuple[str, Writer]]:
    context = Context("cpu", "synthetic:tiny", "auto", 42, 1, full / "run")
    passes = Check("passes", 1, 60, function="tests.verify.bad_checks:passes")
    record = Record("passes", 1, Status.PASS, "x" * 9000, "2026-01-01T00:00:00+00:00", 0.0, {}, {}, "nox -s verify")
    journal = Journal(full / "transcripts.jsonl", 0, {"schema": 1})
    fill(full)
    yield "record", lambda: write_record(full / "run", record)
    yield "run", lambda: write_run(full / "run", engine.new_run("run", context, [passes], "cpu", "nox -s verify"))
    yield "setup's record", lambda: setup.setup(request(), full / "run", "nox -s setup")
    yield "worker's log", lambda: engine.run_checks([passes], context, Path(sys.executable), str)
    yield "transcripts", lambda: Journal(full / "others.jsonl", 0, {"schema": 1, "filler": "x" * 9000})
    yield "transcripts, later", lambda: journal.add([LINE] * 99)
    yield "transcripts, at the end", lambda: finish(full / "transcripts.jsonl", {"schema": 1}, [LINE] * 99)
    yield "json of a program", lambda: write_json(full / "out.json", {"filler": "x" * 9000})
    yield "documents", lambda: report.main(["--run", str(DOCUMENTED), "--output", str(full / "documents")])
    yield "capture", lambda: capture.main([str(full / "capture.tar.gz")])
    yield "junit of the audit", lambda: audit.main(["--junit", str(full / "audit.xml")])
    yield from reference(full, spare)
    yield "environment by uv", lambda: environment("uv", small, spare)
    yield "environment by pip", lambda: environment("pip", small, spare)


def ending(writer: Writer) -> dict[str, Any]:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            value = writer()
    except BundleError as error:
        folder = Path(str(error).partition("df -h ")[2].partition(")")[0])
        return {
            "kind": type(error).__name__,
            "code": error.exit_code,
            "said": str(error),
            "folder": folder.is_absolute() and folder.is_dir(),
        }
    except Exception as error:  # what a user would see as a traceback
        return {"kind": type(error).__name__, "code": 1, "said": str(error)}
    return {"kind": "none", "code": 0, "said": f"{value!r}\n{printed.getvalue()}"}


def main(full: Path, small: Path, spare: Path) -> int:
    ended = {name: ending(writer) for name, writer in writers(full, small, spare)}
    left = sorted(str(path) for path in full.rglob("*.tmp"))
    print(json.dumps({"ended": ended, "left": left}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
