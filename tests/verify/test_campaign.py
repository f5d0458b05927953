"""The appendix on planted faults: its file read and refused, its figures, and its place in a run's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import asdict, replace

from env.errors import RecordError, StorageError
from env.language import LANGUAGES, Language, _, translate
from verify.report.__main__ import main
from verify.report.appendix import Appendix, often, share
from verify.report.campaign import (
    FAULTS_FILE,
    SCHEMA_FILE,
    BadCampaignError,
    Campaign,
    Damaged,
    FaultOutcome,
    Project,
    attach,
    attached,
    count,
    parse,
    schema,
)
from verify.report.render import render
from verify.run.records import read_evidence

ROOT = Path(__file__).resolve().parents[2]
CASE = ROOT / "tests" / "data" / "report" / "emulated-faults"
TEXT = (CASE / FAULTS_FILE).read_text(encoding="utf-8")
GOOD = parse(TEXT)
SCHEMA = Draft202012Validator(json.loads(schema()))
HEADS = {"zh": "## 附录：", "en": "## Appendix: "}


def changed(dotted: str, value: object) -> str:
    """The good file with one value replaced; "faults.0.caught" names it."""
    whole = json.loads(TEXT)
    *path, last = [int(part) if part.isdigit() else part for part in dotted.split(".")]
    place = whole
    for key in path:
        place = place[key]
    place[last] = value
    return json.dumps(whole)


def without(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def with_faults(*faults: FaultOutcome) -> Campaign:
    return replace(GOOD, faults=faults, summary=count(faults, GOOD.clean))


def document(campaign: Campaign | Damaged | None, language: Language = "en") -> str:
    return render(read_evidence(CASE), language, campaign)


def appendix_of(campaign: Campaign | Damaged | None, language: Language = "en") -> str:
    text = document(campaign, language)
    return text[text.index(HEADS[language]) :]


# The file

BAD_FILES: dict[str, tuple[str, str]] = {
    "empty": ("", "Input data was truncated"),
    "cut": (TEXT[:1000], "Input data was truncated"),
    "no object": ("[]", "Expected `object`, got `array`"),
    "too deep": ('{"schema":1,"faults":' + "[" * 100_000, "maximum recursion depth exceeded"),
    "a newer version": (json.dumps({"schema": 2, "losses": []}), "schema 1 required, 2 found"),
    "no version": (json.dumps(without("schema", json.loads(TEXT))), "missing required field `schema`"),
    "a version in words": (changed("schema", "1"), "Expected `int`, got `str` - at `$.schema`"),
    "no faults": (changed("faults", None), "Expected `array`, got `null` - at `$.faults`"),
    "a fault that is none": (changed("faults.1", "x"), "Expected `object`, got `str` - at `$.faults[1]`"),
    "a field missing": (
        changed("faults.2", without("caught", json.loads(TEXT)["faults"][2])),
        "missing required field `caught` - at `$.faults[2]`",
    ),
    "an unknown field": (changed("clean.0.colour", 1), "unknown field `colour` - at `$.clean[0]`"),
    "yes for true": (changed("faults.0.caught", "yes"), "Expected `bool`, got `str` - at `$.faults[0].caught`"),
    "1 for true": (changed("faults.0.caught", 1), "Expected `bool`, got `int` - at `$.faults[0].caught`"),
    "true for a number": (
        changed("faults.0.effect", True),
        "Expected `float | null`, got `bool` - at `$.faults[0].effect`",
    ),
    "an endless number": (TEXT.replace("41.5", "1e999"), "Number out of range - at `$.faults["),
    "NaN": (TEXT.replace("41.5", "NaN"), "JSON is malformed: invalid character"),
    "a negative time": (changed("clean.0.seconds", -1), "Expected `float` >= 0.0 - at `$.clean[0].seconds`"),
    "a local time": (changed("started", "2026-08-01 10:00:00"), "matching regex"),
    "half a record": (changed("faults.0.records", 0.5), "Expected `int`, got `float` - at `$.faults[0].records`"),
    "another device": (changed("faults.0.on", "cuda"), "Invalid enum value 'cuda' - at `$.faults[0].on`"),
    "another sort": (changed("faults.0.sort", "bug"), "Invalid enum value 'bug' - at `$.faults[0].sort`"),
    "alarms in one text": (
        changed("clean.0.alarms", "parity"),
        "Expected `array`, got `str` - at `$.clean[0].alarms`",
    ),
    "a version as a number": (changed("versions.torch", 2.9), "Expected `str | null`, got `float` - at `$.versions"),
    "no commit": (changed("project", {"version": "1"}), "missing required field `commit` - at `$.project`"),
    "no summary": (changed("summary", []), "Expected `object`, got `array` - at `$.summary`"),
    "a long value": (changed("faults.0.on", "x" * 999), f"Invalid enum value '{'x' * 139}…"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_with_the_field_that_is_wrong(case: str, tmp_path: Path) -> None:
    text, why = BAD_FILES[case]
    file, run = tmp_path / "campaign.json", tmp_path / "run"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        attach(file, run)
    assert why in caught.value.what
    assert str(file) in caught.value.what
    assert caught.value.next == "nox -s faults"
    assert not run.exists()


NO_JSON = ("empty", "cut", "too deep", "an endless number", "NaN")


@pytest.mark.parametrize("case", sorted(set(BAD_FILES) - set(NO_JSON)))
def test_what_the_reader_refuses_does_not_fit_the_schema(case: str) -> None:
    assert not SCHEMA.is_valid(json.loads(BAD_FILES[case][0]))


def test_the_schema_beside_the_types_is_theirs() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema()
    Draft202012Validator.check_schema(json.loads(schema()))


@pytest.mark.parametrize("path", sorted(CASE.parent.glob("*/faults.json")), ids=lambda path: path.parent.name)
def test_kept_campaigns_fit_the_schema_and_are_written_as_they_were(path: Path) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    SCHEMA.validate(value)
    written = json.loads(msgspec.json.encode(parse(path.read_text(encoding="utf-8"))))
    weights = {"measured": [], "weighted": None}  # which it was written before
    assert written == {**value, "summary": weights | value["summary"]}


def test_no_file_is_told_from_a_bad_one(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no fault campaign in") as caught:
        attach(tmp_path / "nowhere.json", tmp_path)
    assert caught.value.next == "nox -s faults"
    with pytest.raises(RecordError, match="Is a directory"):
        attach(tmp_path, tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "campaign.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="can't decode byte 0xff"):
        attach(tmp_path / "campaign.json", tmp_path)


@pytest.mark.parametrize("name", sorted(set(asdict(GOOD.summary)) - {"measured", "weighted"}))
def test_a_summary_that_its_rows_contradict_is_refused(name: str) -> None:
    right = getattr(GOOD.summary, name)
    with pytest.raises(ValueError, match=rf"summary\.{name}: {right} required by the rows, {right + 1} found"):
        parse(changed(f"summary.{name}", right + 1))


def test_an_event_ended_only_with_records_documents_and_no_pass() -> None:
    lost = next(fault for fault in GOOD.faults if fault.id == "lost")
    assert lost.ended
    for verdict in ("verified · cpu", "verdict: verified (EMULATED) · npu:0"):
        assert not replace(lost, verdict=verdict).ended
    assert replace(lost, verdict="not verified · npu:0").ended
    assert not replace(lost, records=0).ended
    assert not replace(lost, documents=False).ended


# The figures


def test_nearly_all_does_not_read_as_all() -> None:
    assert share(1999, 2000) == "1999 / 2000 (99.9%)"
    assert share(2000, 2000) == "2000 / 2000 (100.0%)"
    assert share(0, 0) == "0 / 0"


def test_the_most_frequent_comes_first_and_ties_by_name() -> None:
    assert often(["b", "a", None, "c", "c"]) == [("c", 2), (None, 1), ("a", 1), ("b", 1)]


def test_families_keep_their_order_and_their_devices_apart() -> None:
    first, second = GOOD.faults[0], GOOD.faults[5]
    on_cpu = replace(first, on="cpu", emulated=False)
    rows = Appendix(with_faults(second, first, on_cpu, first), None).families
    assert [(row.name, row.place, len(row.faults)) for row in rows] == [
        ("operator wrong", "npu (EMULATED)", 1),
        ("module output scaled", "npu (EMULATED)", 2),
        ("module output scaled", "cpu", 1),
    ]


def test_times_are_the_median_and_the_worst_of_what_was_caught() -> None:
    faults = [replace(GOOD.faults[0], seconds=seconds) for seconds in (3.0, 1.0, 9.0, None)]
    missed = replace(GOOD.faults[0], caught=False, seconds=100.0)
    (row,) = Appendix(with_faults(*faults, missed), None).families
    assert row.seconds == (3.0, 9.0)
    assert row.found == "4 / 5 (80.0%)"


def test_an_effect_that_cannot_be_measured_excuses_nothing() -> None:
    unknown = replace(GOOD.faults[0], effect=None, beyond_noise=None, caught=False, missed_because=None, reason="")
    text = appendix_of(with_faults(unknown))
    assert "| not measurable | not recorded |" in text


def test_classes_are_weighted_by_the_measured_shares() -> None:
    """By hand: (0.5068 * 1 + 0.0101 * 0.5) / (0.5068 + 0.0101) = 0.9902; one class has nothing beyond noise."""
    of = [("zero weight", True, True), ("NaN once", True, True), ("infinity from a layer", True, False)]
    of += [("weight bit sign", False, False), ("library", True, False)]
    faults = [replace(GOOD.faults[0], family=name, beyond_noise=beyond, caught=caught) for name, beyond, caught in of]
    campaign = with_faults(*faults)
    assert [(row.name, row.cases, row.beyond_noise, row.caught) for row in campaign.summary.measured] == [
        ("values set to zero", 1, 1, 1),
        ("one bit of a word", 1, 0, 0),
        ("NaN or infinity", 2, 2, 1),
    ]
    assert campaign.summary.weighted == 0.9902
    text = appendix_of(parse(msgspec.json.encode(campaign).decode()))
    assert "| NaN or infinity | 1.0% | 2 | 2 | 1 / 2 (50.0%) |" in text
    assert "99.0% of the silent corruption beyond the noise was caught" in text


def test_a_campaign_of_before_there_were_weights_claims_none() -> None:
    assert (GOOD.summary.measured, GOOD.summary.weighted) == ((), None)
    assert "Weighted as silent corruption was measured" not in appendix_of(GOOD)


def test_weights_that_the_rows_contradict_are_refused() -> None:
    with pytest.raises(BadCampaignError, match=r"summary\.weighted: 1\.0 required by the rows, 0\.5 found"):
        parse(changed("summary.weighted", 0.5))


def test_an_event_is_not_excused_by_the_noise() -> None:
    slow = next(fault for fault in GOOD.faults if fault.id == "slow")
    appendix = Appendix(with_faults(replace(slow, effect=0.0, beyond_noise=False)), None)
    assert [fault.id for fault in appendix.missed] == ["slow"]
    assert appendix.within == []


def test_a_campaign_that_missed_nothing_says_none() -> None:
    text = appendix_of(with_faults(GOOD.faults[0]))
    assert "### Faults that were missed\n\nNone.\n" in text
    assert "Events that did not end" not in text


def test_a_campaign_without_rows_claims_nothing() -> None:
    text = appendix_of(replace(GOOD, faults=(), clean=(), summary=count((), ())))
    assert "No fault was planted." in text
    assert "how often it raises a false alarm is not known" in text
    assert "| Of these caught | 0 / 0 |" in text


@pytest.mark.parametrize(
    ("changes", "emulated", "no_npu"),
    [
        ({}, True, True),
        ({"on": "cpu", "emulated": False}, False, False),  # the clean runs on an npu may have been on a real one
        ({"on": "npu", "emulated": False}, False, False),
    ],
)
def test_what_is_said_of_hardware_is_what_is_known(changes: dict[str, Any], emulated: bool, no_npu: bool) -> None:
    text = appendix_of(with_faults(replace(GOOD.faults[0], **changes)))
    assert ("on an emulated device (EMULATED)" in text) == emulated
    assert ("nothing about a real NPU" in text) == no_npu


@pytest.mark.parametrize(("commit", "other"), [("c40b5c8f2d1e", False), ("0123456789ab", True), (None, True)])
def test_checks_of_another_commit_are_not_taken_for_the_run_s(commit: str | None, other: bool) -> None:
    text = appendix_of(replace(GOOD, project=Project("0.1.0", commit)))
    assert ("not known to be the code that made this run's records" in text) == other


# The run's folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The example's run without its campaign."""
    return Path(shutil.copytree(CASE, tmp_path / "run", ignore=shutil.ignore_patterns("*.md", FAULTS_FILE)))


def test_a_campaign_is_kept_and_shown_from_then_on(run: Path, tmp_path: Path) -> None:
    assert main(["--run", str(run)]) == 0
    for language in LANGUAGES:
        golden = (CASE / f"evidence.{language}.md").read_text(encoding="utf-8")
        plain = golden[: golden.index('<a id="faults">')].rstrip() + "\n"
        assert (run / f"evidence.{language}.md").read_text(encoding="utf-8") == plain
    assert main(["--run", str(run), "--faults", str(CASE / FAULTS_FILE), "--output", str(tmp_path / "first")]) == 0
    assert (run / FAULTS_FILE).read_bytes() == (CASE / FAULTS_FILE).read_bytes()
    moved = Path(shutil.move(run, tmp_path / "elsewhere"))
    assert main(["--run", str(moved)]) == 0
    for language in LANGUAGES:
        name = f"evidence.{language}.md"
        assert (moved / name).read_bytes() == (tmp_path / "first" / name).read_bytes() == (CASE / name).read_bytes()


def test_a_campaign_does_not_touch_the_verdict(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / FAULTS_FILE).write_text("{")
    assert main(["--run", str(run), "--strict"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("verified (EMULATED")


def test_a_bad_file_leaves_the_campaign_that_was_there(run: Path, tmp_path: Path) -> None:
    attach(CASE / FAULTS_FILE, run)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(RecordError, match="missing required field `schema`"):
        main(["--run", str(run), "--faults", str(tmp_path / "bad.json")])
    assert (run / FAULTS_FILE).read_bytes() == (CASE / FAULTS_FILE).read_bytes()
    assert not list(run.glob("*.md"))


def test_a_campaign_can_be_attached_from_where_it_already_is(run: Path) -> None:
    attach(CASE / FAULTS_FILE, run)
    attach(run / FAULTS_FILE, run)
    assert isinstance(attached(run), Campaign)


def test_a_folder_that_takes_no_file_is_a_storage_error(run: Path) -> None:
    (run / FAULTS_FILE).mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        attach(CASE / FAULTS_FILE, run)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_campaign_damaged_later_is_said_to_be_and_the_documents_stand(run: Path, language: Language) -> None:
    (run / FAULTS_FILE).write_text(changed("summary.caught", 7), encoding="utf-8")
    text = appendix_of(attached(run), language)
    reason = _("summary.{name}: {total} required by the rows, {stated} found", name="caught", total=6, stated=7)
    assert translate(reason, language) in text
    assert str(run) not in text
    assert len(text.splitlines()) == 3
    (run / FAULTS_FILE).unlink()
    (run / FAULTS_FILE).mkdir()
    assert translate("Is a directory", language) in appendix_of(attached(run), language)


def test_a_run_without_a_campaign_has_no_appendix(run: Path) -> None:
    assert attached(run) is None
    assert "Appendix" not in document(attached(run))
    assert "附录" not in document(attached(run), "zh")
