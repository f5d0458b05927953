"""Hostile records, captures and answers of a machine, to those who read them."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from hypothesis import strategies as st

from env.audit import command as audit
from tests.env.test_hostile_trees import MANIFEST
from tests.property.hostile import Reader, bent_bytes, bent_json, hold, stored
from tests.verify.report_runs import DATA
from verify.report.campaign import parse as parse_campaign
from verify.run.records import read_evidence
from verify.run.verdict import judge

RUN = DATA / "npu-verified"
CHECKS = ("parity", "layers", "sharp", "speech", "machine", "device", "tokens", "configurations", "benchmark")
BESIDE = ("checkpoint", "device", "load")  # records that another's judgement looks at


def of_record(name: str) -> Reader:
    """The reader of a run in which `name` is bent; the rest of its records would take most of the time."""

    def read(folder: Path, data: bytes) -> object:
        run = folder / "run"
        if not run.exists():
            shutil.copytree(RUN, run)
            for path in (run / "records").iterdir():
                if path.stem not in BESIDE and path.name != Path(name).name:
                    path.unlink()
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


READERS: dict[str, tuple[st.SearchStrategy[bytes], Reader]] = {
    **{
        f"record {name}": (bent_json(stored(RUN / "records" / f"{name}.json")), of_record(f"records/{name}.json"))
        for name in (
            "parity",
            "layers",
            "sharp",
            "speech",
            "machine",
            "device",
            "tokens",
            "configurations",
            "benchmark",
        )
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
    "os-release": (bent_bytes(b'PRETTY_NAME="x"\nID=y\n'), of_tree("etc/os-release")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_hostile_input_gives_a_value_or_an_error_of_our_own(name: str, tmp_path: Path) -> None:
    hold(*READERS[name], tmp_path)
