"""A record whose status is better than its figures verifies nothing: here figures are edited, not the status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from env.toml import load_toml
from tests.verify.report_runs import DATA, RUNS, evidence_of
from verify.report import __main__ as report
from verify.run.contradiction import FRONTEND_LIMITS, JUDGES
from verify.run.figures import FIGURES
from verify.run.records import Status, read_evidence
from verify.run.verdict import Word, judge

Data = dict[str, Any]
VERIFIED = DATA / "npu-verified"

FRONTEND: Data = {
    "clips": ["en-1.flac"],
    "rates": [8000],
    **{
        f"{kind}_{measure}{end}": value
        for kind, measure, limit in (
            ("features", "max_abs", 1e-3),
            ("features", "rel_l2", 5e-5),
            ("resampled", "rel_l2", 1e-3),
        )
        for end, value in (("", limit / 2), ("_limit", limit), ("_worst", "en-1.flac"))
    },
    "limit_sources": ["one", "other"],
}


def put(*path: str | int, value: Any) -> Callable[[Data], None]:
    """Write `value` at a path of a record's data."""

    def edit(data: Data) -> None:
        *there, last = path
        place: Any = data
        for step in there:
            place = place[step]
        place[last] = value

    return edit


def both(*edits: Callable[[Data], None]) -> Callable[[Data], None]:
    def edit(data: Data) -> None:
        for each in edits:
            each(data)

    return edit


def error_of_the_machine(data: Data) -> None:
    text = "no driver"
    data["findings"] = [
        {"id": "x", "severity": "error", "what": text, "why": text, "show": text, "fix": text, "source": text}
    ]


def swapped(data: Data) -> None:
    data["rows"][0] |= {"found": "0.1", "ok": False, "substituted": False}


# Under each check: what is edited in a record that passed.
CARD = {
    "tool": "npu-smi",
    "card": "-i 0 -c 0",
    "every_s": 5.0,
    "samples": [],
    "spread": {},
    "errors_before": {"single_bit": 0, "double_bit": 0, "isolated_pages": 0},
    "errors_after": {"single_bit": 0, "double_bit": 1, "isolated_pages": 0},
}
BOUND = {"rel_l2": 0.01, "worst_element": 0.02}
COUNTS = {"hits": 0, "substitutions": 1, "deletions": 0, "insertions": 0}
WORDS = {  # a clip whose text is another than the CPU's, and no tie
    "reference": {"device": "cpu", "dtype": "float32", "sha256": "", "depth": "texts", "versions": {}},
    "noise": BOUND,
    "expected": BOUND,
    "rows": [
        {
            "clip": "en.flac",
            "language": "en",
            "text": "two",
            "cpu": "one",
            "tokens": 1,
            "ended": False,
            "same": 0,
            "first_difference": {"taken": 2, "expected": 1, "margin": 9.0, "tie_below": 0.1, "step": 0},
            "forced": {"same": 1, "ties": 0, "wrong": []},
            "rel_l2": [0.001],
        }
    ],
    "distance": {
        "words": 100.0,
        "characters": 100.0,
        "word_counts": COUNTS,
        "character_counts": COUNTS,
        "signature": "x",
    },
}
COPY = {"direction": "h2d", "memory": "pinned", "bytes": 1048576, "n": 5, "gb_s": 20.0, "best_gb_s": 21.0}
STRESS = {
    "mode": "aic",
    "result": "passed",
    "code": None,
    "seconds": 60.0,
    "workspace_bytes": 10 * 2**30,
    "printed": "",
}
VENDOR: Data = {
    "tool": "/usr/local/Ascend/toolbox/latest/Ascend-DMI/bin/ascend-dmi",
    "items": [{"name": "device", "word": "HEALTH", "text": ""}],
    "rates": [{"name": "h2d", "unit": "GB/s", "theirs": 27.0, "dies": 1, "ours": 26.0}],
    "unread": {},
}
EDITS: list[tuple[str, str, Callable[[Data], None]]] = [
    ("machine", "an error", error_of_the_machine),
    ("packages", "another version", swapped),
    ("packages", "a drifted pin", put("lock", value={"name": "x.txt", "drifted": ["numpy==1.26.4 (found: 2.0)"]})),
    ("checkpoint", "other sums", put("sums", value={"status": "differ"})),
    ("device", "a product", put("op", "max_abs", value=1.0)),
    ("device", "no product", put("op", "max_abs", value=None)),
    ("device", "GELU", put("gelu", value={"form": "erf", "erf_error": 0.1, "tanh_error": 0.1})),
    ("load", "fewer parameters", put("parameters", value=5)),
    ("definition", "a problem", put("problems", value=["logits"])),
    ("definition", "an equation", put("equations", 0, "error", value=1.0)),
    ("definition", "no number", put("equations", 0, "error", value=None)),
    ("definition", "a value", put("bundled", "errors", "logits", value=1.0)),
    ("frontend", "beyond", put("features_rel_l2", value=1.0)),
    ("frontend", "wider limit", both(put("features_rel_l2", value=1.0), put("features_rel_l2_limit", value=2.0))),
    ("frontend", "no number", put("resampled_rel_l2", value=None)),
    ("weights", "a count", put("differing_count", value=1)),
    ("weights", "a name", put("not_in_checkpoint", value=["encoder.x"])),
    ("shapes", "a shape", put("components", "encoder", "shape", value=[1])),
    ("shapes", "NaN", put("components", "encoder", "finite", value=False)),
    ("splice", "text", put("max_abs_text", value=0.5)),
    ("splice", "audio", put("max_abs_audio", value=None)),
    ("splice", "positions", put("positions_replaced", value=0)),
    ("generate", "other tokens", put("repeatable", value=False)),
    ("generate", "a step", put("cached_rel_l2", 0, value=1.0)),
    ("generate", "wider limit", both(put("cached_rel_l2", 0, value=1.0), put("cached_rel_l2_limit", value=2.0))),
    ("determinism", "other bits", put("components", "encoder", "identical", value=False)),
    ("determinism", "an error", put("components", "encoder", "rel_l2", value=0.1)),
    ("parity", "passed", put("components", "projector", "passed", value=False)),
    ("parity", "an error", put("components", "projector", "rel_l2", value=3.0)),
    ("parity", "a cosine", put("components", "projector", "cosine", value=0.1)),
    ("parity", "NaN", put("components", "projector", "finite", value=False)),
    (
        "parity",
        "wider limit",
        both(
            put("components", "splice", "rel_l2", value=0.5),
            put("components", "splice", "limits", value={"rel_l2": 1.0}),
        ),
    ),
    (
        "parity",
        "wider than the noise",
        both(
            put("components", "encoder", "rel_l2", value=0.5),
            put("components", "encoder", "noise", value=1e-3),
            put("components", "encoder", "limits", value={"rel_l2": 1.0}),
        ),
    ),
    ("parity", "a limit of no measure", put("components", "encoder", "limits", value={"evil": 1.0})),
    ("parity", "a limit below zero", put("components", "encoder", "limits", value={"rel_l2": -1.0})),
    ("tokens", "a step that is not there", put("free", 0, "departs_at", value=10**9)),
    ("layers", "beyond", put("isolated", "beyond", value=1)),
    ("layers", "missing", put("end_to_end", "missing", value=["encoder"])),
    ("layers", "a point", put("isolated", "closest", 0, "rel_l2", value=1.0)),
    ("layers", "a worst element", put("end_to_end", "closest", 0, "worst_element", value=9.0)),
    ("sharp", "beyond", put("isolated", "beyond", value=1)),
    ("sharp", "excess", put("isolated", "closest", 0, "excess", value=1.5)),
    ("tokens", "a step", put("free", 0, "rel_l2", 0, value=1.0)),
    ("tokens", "a row", put("free", 0, "passed", value=False)),
    ("tokens", "a choice", put("forced", 0, "same", value=0)),
    ("tokens", "NaN", put("forced_scores", "finite", value=False)),
    ("configurations", "a value", put("rows", 0, "value", value=9.0)),
    ("configurations", "no value", put("rows", 0, "value", value=None)),
    ("configurations", "passed", put("rows", 0, "passed", value=False)),
    ("repeatability", "a run", put("repeats", "differing", value=1)),
    ("repeatability", "warm", put("warm", "encoder", value=False)),
    ("repeatability", "a batch", put("batch", "logits_rel_l2", value=1.0)),
    ("repeatability", "a process", put("process", "first_difference", value="encoder")),
    ("speech", "a text", put("transcripts", 0, "hypothesis", value="nothing of it")),
    ("speech", "the rate", put("transcription", "all", "wer", "value", value=50.0)),
    ("speech", "another text than the CPU's", put("words", value=WORDS)),
    ("speech", "a failure", put("failed", value=[{"key": "1", "error": "is empty"}])),
    (
        "speech",
        "no limit",
        both(
            put("transcription", "all", "wer", "value", value=50.0),
            put("transcription", "all", "wer", "low", value=50.0),
            put("transcription", "all", "wer", "counts", value={}),
            put("held_out", value={"wer": 0.0, "bleu": 0.0}),
            put("limits", value={}),
        ),
    ),
    ("soak", "a round", put("mismatches", value=1)),
    ("soak", "memory of the card", put("card", value=CARD)),
    ("benchmark", "memory of the card", put("card", value=CARD)),
    ("benchmark", "a copy", put("copies", value=[COPY | {"exact": False}])),
    ("vendor", "a bad item", put("items", 0, "word", value="EMERGENCY_WARN")),
    ("vendor", "nothing tested", both(put("items", 0, "word", value="SKIP"), put("rates", value=[]))),
    ("stress", "wrong bits", put("result", value="faulty")),
    ("stress", "a voltage", put("result", value="voltage")),
    ("stress", "a code", put("code", value=574006)),
    ("stress", "memory of the card", put("card", value=CARD)),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that is verified, with a record of every check."""
    folder = Path(shutil.copytree(VERIFIED, tmp_path / "run"))
    record = json.loads((folder / "records" / "load.json").read_text(encoding="utf-8"))
    soak = json.loads((DATA / "npu-soak-failed" / "records" / "soak.json").read_text(encoding="utf-8"))["data"]
    own = {"frontend": FRONTEND, "soak": soak | {"mismatches": 0, "listed": []}, "stress": STRESS, "vendor": VENDOR}
    for name, data in own.items():
        whole = record | {"check": name, "data": data}
        (folder / "records" / f"{name}.json").write_text(json.dumps(whole), encoding="utf-8")
    assert judge(read_evidence(folder)).word is Word.VERIFIED
    return folder


def edited(folder: Path, check: str, edit: Callable[[Data], None], **fields: str) -> None:
    path = folder / "records" / f"{check}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    edit(record["data"])
    path.write_text(json.dumps(record | fields), encoding="utf-8")


@pytest.mark.parametrize(("check", "what", "edit"), EDITS, ids=[f"{check}: {what}" for check, what, edit in EDITS])
def test_figures_that_deny_the_status_are_a_damaged_record(
    run: Path, check: str, what: str, edit: Callable[[Data], None]
) -> None:
    edited(run, check, edit)
    evidence = read_evidence(run)
    assert "status is pass" in evidence.damaged[f"{check}.json"], what
    assert evidence.status(check) is Status.ERROR
    assert judge(evidence).word is not Word.VERIFIED
    assert report.main(["--run", str(run), "--strict"]) == 31


def test_every_check_with_limits_is_among_them() -> None:
    assert {check for check, *_ in EDITS} == set(JUDGES) == set(FIGURES)


@pytest.mark.parametrize("name", RUNS)
def test_no_status_of_a_run_can_be_edited_to_pass(name: str, tmp_path: Path) -> None:
    """A failed check that says pass is damaged, whatever its figures look like; a passed one stays as it was."""
    evidence = evidence_of(name)
    failed = [record.check for record in evidence.records.values() if record.status is Status.FAIL and record.data]
    folder = Path(shutil.copytree(DATA / name, tmp_path / name))
    for check in failed:
        edited(folder, check, lambda data: None, status="pass")
    again = read_evidence(folder)
    assert {f"{check}.json" for check in failed} == again.damaged.keys() - evidence.damaged.keys()


@pytest.mark.parametrize("check", ["configurations", "frontend", "soak", "benchmark"])
def test_a_skip_that_has_figures_is_no_skip(run: Path, check: str) -> None:
    edited(run, check, lambda data: None, status="skip")
    assert judge(read_evidence(run)).word is not Word.VERIFIED


def test_limits_of_the_front_end_are_where_they_are_looked_for() -> None:
    assert load_toml(FRONTEND_LIMITS).keys() == {"features", "resampled"}
